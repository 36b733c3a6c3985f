"""Settings of the Hugging Face hub's own tools: offline mode, the cache, and the token.

Source: the documentation of huggingface_hub, page "Environment variables".
"""

import os
import re
from pathlib import Path

IS_TRUE = ("1", "ON", "YES", "TRUE")


def is_set(variable):
    """Whether an environment variable says yes."""
    return os.environ.get(variable, "").upper() in IS_TRUE


def offline_variable():
    """The environment variable that forbids the network, or None."""
    variable = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    return variable if is_set(variable) else None


def read_path(variables, default):
    """The path in the first environment variable that is set, else `default`; with ~ and $NAME expanded."""
    path = next(filter(None, map(os.environ.get, variables)), default)
    return Path(os.path.expandvars(os.path.expanduser(path)))


def hub_home():
    """The folder of the hub's tools, with the cache and the token."""
    return read_path(["HF_HOME"], read_path(["XDG_CACHE_HOME"], "~/.cache") / "huggingface")


def hub_cache_dir():
    """The folder where the hub's tools keep the models that they have downloaded."""
    return read_path(["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"], hub_home() / "hub")


def hub_token():
    """The user's token for the hub: from HF_TOKEN, else from the file of `hf auth login`, else None.

    Raises:
        ValueError: the token has characters that no HTTP header can have. The message does not show it.
    """
    if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None
    variable = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "HUGGING_FACE_HUB_TOKEN"
    token, origin = clean_token(os.environ.get(variable, "")), variable
    if not token:
        origin = read_path(["HF_TOKEN_PATH"], hub_home() / "token")
        try:
            token = clean_token(origin.read_text(encoding="utf-8", errors="replace"))
        except OSError:  # there is no file, or it belongs to another user
            return None
    if not re.fullmatch("[!-~]*", token):
        raise ValueError(f"{origin}: the token has a character that no token can have; copy the token again")
    return token or None


def clean_token(text):
    """Remove line ends and white space around a token."""
    return text.replace("\r", "").replace("\n", "").strip()
