"""Download a file over HTTP, and resume after an interruption, in the same run or in a later one.

The bytes go to a partial file beside the destination: `NAME.VERSION.part`, where VERSION is a hash of the
server's ETag or Last-Modified. A partial file is resumed only if the server still has that version. So it
does not matter when or why an earlier attempt ended. The caller verifies the complete file and renames it.
"""

import hashlib
import os
import re

import requests
from requests.adapters import MaxRetryError

from download import http_session
from download.http_session import Interrupted, UnexpectedContent, read_file_info
from download.request_errors import check_response, describe_error

CHUNK_SIZE = 2**14  # bytes; an interruption loses at most one chunk


def fetch(session, url, path, bar, max_size=None):
    """Download `url` to a partial file beside `path`; resume the partial file of an earlier attempt.

    The retries follow http_session.RETRIES. An attempt that makes progress resets their count.

    Args:
        bar: a tqdm that counts bytes, including those of the earlier attempt.
        max_size: the maximum number of bytes to accept.

    Returns:
        partial: the path of the complete partial file.
        info: what the server says about the file, see `read_file_info`.

    Raises:
        requests.RequestException: the server does not have the file, or the retries are exhausted.
        OSError: the file is too large, the response is not the file, or the disk cannot be written.
    """
    retries, bar_start, most_bytes = http_session.RETRIES, bar.n, size_of(find_partial(path))
    while True:
        try:
            return fetch_once(session, url, path, bar, bar_start, max_size)
        except Interrupted as interruption:
            n_bytes = size_of(find_partial(path))
            if n_bytes > most_bytes:
                retries, most_bytes = http_session.RETRIES, n_bytes
            try:
                retries = retries.increment("GET", url, error=interruption)
            except MaxRetryError:
                raise interruption from None
            bar.set_postfix_str("interrupted, retrying")
            retries.sleep()
            bar.set_postfix_str("")


def fetch_once(session, url, path, bar, bar_start, max_size):
    """Make one attempt of `fetch`. Raises Interrupted if a retry may succeed."""
    partial = find_partial(path)
    start = max(0, size_of(partial) - 1)  # repeat the last byte, so that the range is never empty
    headers = {"Range": f"bytes={start}-"} if start else {}
    timeout = (http_session.CONNECT_TIMEOUT, http_session.READ_TIMEOUT)
    with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if start and response.status_code == 416:
            partial.unlink()
            raise Interrupted(f"{url} is now shorter than its partial file")
        check_response(response)
        info = read_file_info(response)
        new_partial = path.with_name(partial_name(path.name, info))
        is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if response.status_code == 206 and not (is_rest and partial == new_partial):
            discard(partial)
            raise Interrupted(f"{url} has changed, or the server returned the wrong range")
        if response.status_code == 200:  # the whole file
            start = 0
            if partial != new_partial:
                discard(partial)
        bar.n = bar_start + start
        write_body(response, new_partial, start, url, bar, max_size)
        length = response.headers.get("Content-Length", "")
        is_truncated = length.isdecimal() and response.raw.tell() != int(length)
        if is_truncated or size_of(new_partial) < info.get("size", 0):
            raise Interrupted(f"the download of {url} was interrupted at {size_of(new_partial)} bytes")
    return new_partial, info


def write_body(response, partial, start, url, bar, max_size):
    """Write the body of a response to the partial file, from the byte `start` on, and flush it to disk."""
    with open(partial, "r+b" if start else "wb") as file:
        file.seek(start)
        try:
            for chunk in response.iter_content(CHUNK_SIZE):
                file.write(chunk)
                bar.update(len(chunk))
                if max_size and file.tell() > max_size:
                    file.truncate(0)
                    raise UnexpectedContent(f"{url} exceeds {max_size} bytes, the limit for this file")
        except requests.RequestException as error:
            raise Interrupted(describe_error(error, url)) from None
        finally:
            file.flush()
            os.fsync(file.fileno())


def partial_name(name, info):
    """The name of the partial file of one version. Without a version it is `NAME.part`, and not resumable."""
    if "version" not in info:
        return f"{name}.part"
    return f"{name}.{hashlib.sha256(info['version'].encode()).hexdigest()[:12]}.part"


def find_partial(path):
    """The partial file that can be resumed, or None."""
    return next((part for part in find_all_partials(path) if part.name != f"{path.name}.part"), None)


def find_all_partials(path):
    """All partial files of `path`, of any version."""
    name = re.compile(re.escape(path.name) + r"(\.[0-9a-f]{12})?\.part")
    return [other for other in path.parent.iterdir() if name.fullmatch(other.name)]


def size_of(partial):
    return partial.stat().st_size if partial else 0


def discard(partial):
    if partial:
        partial.unlink()
