"""An HTTP session that retries, and the headers of a response about its file."""

import base64
import re

import requests
from requests.adapters import HTTPAdapter, Retry
from requests.packages.urllib3.exceptions import InvalidHeader

CONNECT_TIMEOUT = 5  # seconds until a server accepts the connection
READ_TIMEOUT = 20  # seconds until the next bytes arrive
MAX_RETRY_AFTER = 60  # seconds; no server can make us wait longer


class CappedRetry(Retry):
    """urllib3's retry policy, with Retry-After limited to MAX_RETRY_AFTER and ignored if it is invalid."""

    def get_retry_after(self, response):
        try:
            return min(super().get_retry_after(response) or 0, MAX_RETRY_AFTER)
        except (InvalidHeader, ValueError, OverflowError):
            return 0


RETRIES = CappedRetry(4, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)


class Interrupted(requests.RequestException):
    """The response ended early or does not fit the request. A retry may succeed."""


class UnexpectedContent(OSError):
    """The response is not the file. A retry would not help."""


def new_session(auth=None, retries=None):
    """Create a requests.Session that retries transient failures by the given policy, by default RETRIES.

    auth: the user's credentials for the server, as requests takes them; None leaves this to .netrc.
    """
    session = requests.Session()
    session.auth = auth
    session.headers["Accept-Encoding"] = "identity"  # uncompressed: byte ranges count the bytes of the file
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries or RETRIES))
    return session


def read_file_info(response):
    """Read what the headers say about the whole file.

    OpenAI's storage sends an MD5. The Hugging Face hub sends size and SHA-256 in X-Linked-*, with a redirect.

    Returns:
        a dict with those of the following that the server sends: "size" in bytes, "md5" and "sha256" in
        hexadecimal, and "version", the ETag or Last-Modified.
    """
    headers = response.headers
    redirects = [step.headers for step in (*response.history, response)]
    linked = next((step for step in redirects if "X-Linked-ETag" in step), {})
    version, size, md5 = linked.get("X-Linked-ETag"), linked.get("X-Linked-Size", ""), ""
    sha256 = (version or "").strip('"')  # for large files; for small files the ETag is another hash
    if headers.get("Content-Encoding", "identity") == "identity":  # else they describe the compressed bytes
        version = version or headers.get("ETag") or headers.get("Last-Modified")
        md5 = headers.get("x-ms-blob-content-md5", "")
        if response.status_code == 200:
            size, md5 = size or headers.get("Content-Length", ""), md5 or headers.get("Content-MD5", "")
        elif response.status_code == 206:
            size = size or headers.get("Content-Range", "").split("/")[-1]
    info = {}
    if version:
        info["version"] = version
    if re.fullmatch("[1-9][0-9]{0,17}", size):
        info["size"] = int(size)
    if re.fullmatch("[0-9a-f]{64}", sha256):
        info["sha256"] = sha256
    if re.fullmatch("[0-9A-Za-z+/]{22}==", md5):
        info["md5"] = base64.b64decode(md5).hex()
    return info
