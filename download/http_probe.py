"""Ask several servers at once whether they have a file, without downloading it."""

import queue
import threading
import time

import requests

from download import http_session
from download.http_session import new_session, read_file_info
from download.request_errors import check_response

PROBE_TIMEOUT = 5  # seconds for all responses together
NO_HEAD = (405, 501)  # statuses of servers that do not support HEAD
BUSY = (408, 429)  # client errors that do not say whether the file exists


def probe_all(files):
    """Send a HEAD request for every file at once; wait at most PROBE_TIMEOUT for all responses together.

    The timeouts of requests do not limit the total. They restart for each IP address and each byte, and do
    not cover name resolution. So each request has its own thread, which is abandoned at the deadline.

    Args:
        files: pairs (URL, auth of the server, see `new_session`).

    Yields:
        for each file, in order: the file info, see `read_file_info`, or an exception.
    """
    results = [queue.SimpleQueue() for _ in files]
    for (url, auth), result in zip(files, results, strict=True):
        threading.Thread(target=probe, args=(url, auth, result), daemon=True).start()
    deadline = time.monotonic() + PROBE_TIMEOUT
    for result in results:
        try:
            yield result.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            yield requests.Timeout()


def probe(url, auth, result):
    """Ask one server. Put the file info, or the exception of the request, into the queue `result`."""
    # Half of the time to connect, so that a second IP address of the host still has a chance.
    options = {"stream": True, "allow_redirects": True, "timeout": (PROBE_TIMEOUT / 2, 2 * PROBE_TIMEOUT)}
    retries = http_session.RETRIES.new(total=1, connect=0, respect_retry_after_header=False)
    try:
        with new_session(auth, retries) as session:
            response = session.head(url, **options)
            if response.status_code in NO_HEAD:
                response = session.get(url, **options)
            with response:
                info = read_file_info(response)
                if "sha256" not in info:  # a redirect that has it suffices: its target may forbid HEAD
                    check_response(response)
                result.put(info)
    except Exception as error:
        result.put(error)


def is_missing(result):
    """Whether a result of `probe_all` says that the server does not have the file."""
    status = result.response.status_code if isinstance(result, requests.HTTPError) else 0
    return 400 <= status < 500 and status not in BUSY
