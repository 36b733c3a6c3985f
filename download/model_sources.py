"""Where GPT-2 models are published: OpenAI's storage and the Hugging Face hub. A mirror can replace both."""

import os
import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from requests.auth import AuthBase, HTTPBasicAuth

from download.hub_names import HUB_NAMES, split_hub_name
from download.hub_settings import hub_token

OPENAI_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
HUB_URL = "https://huggingface.co"

# scheme | user name and password | host, port and path
SERVER = r"(https?://)(?:([^/?#]*)@)?((?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?(?:/[^@?#\s]*)?)"
SHOWABLE = r"([a-z]+://)?[\w./-]*"  # an invalid address without a password


class Source(NamedTuple):
    """A folder on a server that has the files of a model."""

    url: str  # without user name and password, so that any message can show it
    is_hub: bool  # the Hugging Face layout; otherwise OpenAI's
    auth: AuthBase | None  # the user's credentials, which no other host receives


class BearerToken(AuthBase):
    """Send a token with a request. requests drops it if a redirect leads to another host."""

    def __init__(self, token):
        self.token = token

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def find_sources(model, mirror=None):
    """List where to look for a model, in order of preference -> [Source].

    Args:
        model: "124M", "355M", "774M", "1558M", "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION".
        mirror: the URL of a server to use instead, with the paths of OpenAI's storage or of the hub.

    Raises:
        ValueError: the mirror or HF_ENDPOINT is not an HTTP URL, or the token of the hub is malformed.
    """
    if mirror:
        server, auth = split_credentials(mirror, "mirror")
    else:
        server, auth = split_credentials(hub_endpoint(), "HF_ENDPOINT")
    if auth is None and is_hub_url(server) and (token := hub_token()):
        auth = BearerToken(token)
    name, revision = split_hub_name(model)
    sources = [Source(f"{server}/{name}/resolve/{quote(revision, safe='')}", is_hub=True, auth=auth)]
    if model in HUB_NAMES:
        if mirror:
            sources.insert(0, Source(f"{server}/{model}", is_hub=False, auth=auth))
        else:
            sources.insert(0, Source(f"{OPENAI_URL}/{model}", is_hub=False, auth=None))
    return sources


def hub_endpoint():
    """The URL of the hub. HF_ENDPOINT replaces it."""
    return (os.environ.get("HF_ENDPOINT") or HUB_URL).rstrip("/")


def is_hub_url(url):
    """Whether a URL without credentials is on the hub."""
    return f"{url}/".startswith(f"{hub_endpoint()}/")


def split_credentials(address, setting):
    """Split the URL of a server -> (URL without user name and password, HTTPBasicAuth or None).

    Raises ValueError if it is not an HTTP URL. The message names the setting and shows no credentials.
    """
    match = re.fullmatch(SERVER, address, re.IGNORECASE)
    if match is None:
        if not re.fullmatch(SHOWABLE, address, re.IGNORECASE):
            address = "..."
        raise ValueError(
            f"{setting}: {address!r} is not a URL that begins with http:// or https://; percent-encode /, @, "
            "? and # in a user name and password"
        )
    scheme, credentials, server = match.groups()
    user, _, password = map(to_bytes, (credentials or "").partition(":"))
    return scheme + server.rstrip("/"), HTTPBasicAuth(user, password) if credentials else None


def to_bytes(percent_encoded):
    """Decode a user name or password in a URL. As bytes, requests sends it in UTF-8."""
    return unquote(percent_encoded).encode("utf-8", "replace")
