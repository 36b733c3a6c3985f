"""Where GPT-2 models are published: OpenAI's storage and the Hugging Face hub. A mirror can replace both."""

import re
from typing import NamedTuple

OPENAI_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
HUB_URL = "https://huggingface.co"
HUB_NAMES = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
HTTP_URL = r"https?://([^/@]*@)?([\w.-]+|\[[0-9a-f:]+\])"


class Source(NamedTuple):
    """A folder on a server that has the files of a model."""

    url: str
    is_hub: bool  # the Hugging Face layout; otherwise OpenAI's


def find_sources(model, mirror=None):
    """List where to look for a model, in order of preference -> [Source].

    Args:
        model: "124M", "355M", "774M", "1558M", or "hf:" and the name of a model on the Hugging Face hub.
        mirror: the URL of a server to use instead, with the paths of OpenAI's storage or of the hub.

    Raises:
        ValueError: the mirror is not an HTTP URL.
    """
    if mirror and not re.match(HTTP_URL, mirror, re.IGNORECASE):
        raise ValueError(f"mirror: {mirror!r} is not a URL that begins with http:// or https://")
    hub_name = HUB_NAMES.get(model, model.removeprefix("hf:"))
    sources = [Source(f"{(mirror or HUB_URL).rstrip('/')}/{hub_name}/resolve/main", is_hub=True)]
    if model in HUB_NAMES:
        sources.insert(0, Source(f"{(mirror or OPENAI_URL).rstrip('/')}/{model}", is_hub=False))
    return sources
