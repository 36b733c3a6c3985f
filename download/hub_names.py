"""Names of models: hf:OWNER/NAME and hf:OWNER/NAME@REVISION on the Hugging Face hub, and OpenAI's sizes."""

import hashlib
import re

HUB_NAMES = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
MAIN = "main"  # the branch of a name without @REVISION

# What git forbids in the name of a branch or tag; see the manual of git check-ref-format.
FORBIDDEN_IN_REVISION = r"\.\.|//|@\{|/\.|\.lock(/|$)|[ ~^:?*\[\\]|^[./]|[./]$|^@$"


def check_revision(revision):
    """Raise ValueError unless git allows the name for a branch or tag. So it never leads out of a folder."""
    if not revision or not revision.isprintable() or re.search(FORBIDDEN_IN_REVISION, revision):
        raise ValueError(
            f"{revision!r} is not the name of a branch, tag or commit; use hf:OWNER/NAME@REVISION, "
            "such as hf:openai-community/gpt2@main"
        )


def split_hub_name(model):
    """Split "hf:OWNER/NAME@REVISION" or "124M" -> ("OWNER/NAME", "REVISION")."""
    name, _, revision = model.removeprefix("hf:").partition("@")
    return HUB_NAMES.get(name, name), revision or MAIN


def folder_name(model):
    """The name of the folder for a model in models_dir. Each revision has its own.

    The hash distinguishes a/b from a-b, and on Windows and Mac also V1 from v1.
    """
    name, _, revision = model.partition("@")
    name = re.sub("[:/]", "--", name)
    if revision in ("", MAIN):
        return name
    readable = re.sub(r"[^\w.-]", "-", revision, flags=re.ASCII)[:40]
    return f"{name}@{readable}-{hashlib.sha256(revision.encode()).hexdigest()[:16]}"
