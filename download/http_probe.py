"""Ask several servers at once whether they have a file, without downloading it."""

import queue
import threading
import time

import requests

from download import http_session
from download.http_session import check_response, describe_error, new_session, read_file_info

PROBE_TIMEOUT = 5  # seconds for all responses together
NO_HEAD = (405, 501)  # statuses of servers that do not support HEAD
BUSY = (408, 429)  # client errors that do not say whether the file exists


def probe_all(urls):
    """Send a HEAD request for every URL at once; wait at most PROBE_TIMEOUT for all responses together.

    The timeouts of requests do not limit the total. They restart for each IP address and each byte, and do
    not cover name resolution. So each request has its own thread, which is abandoned at the deadline.

    Yields:
        for each URL, in order: the file info, see `read_file_info`, or an exception.
    """
    results = [queue.SimpleQueue() for _ in urls]
    for url, result in zip(urls, results, strict=True):
        threading.Thread(target=probe, args=(url, result), daemon=True).start()
    deadline = time.monotonic() + PROBE_TIMEOUT
    for result in results:
        try:
            yield result.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            yield requests.Timeout()


def probe(url, result):
    """Ask one server. Put the file info, or the exception of the request, into the queue `result`."""
    # Half of the time to connect, so that a second IP address of the host still has a chance.
    options = {"stream": True, "allow_redirects": True, "timeout": (PROBE_TIMEOUT / 2, 2 * PROBE_TIMEOUT)}
    retries = http_session.RETRIES.new(total=1, connect=0, respect_retry_after_header=False)
    try:
        with new_session(retries) as session:
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


def first_available(urls):
    """Return the index of the first URL whose server has the file.

    Raises:
        OSError: no server has it. The message gives the reason for each.
    """
    reasons = []
    for index, (url, result) in enumerate(zip(urls, probe_all(urls), strict=True)):
        if not isinstance(result, Exception):
            return index
        reasons.append(describe_error(result, url))
    raise OSError("; ".join(dict.fromkeys(reasons)))


def is_missing(result):
    """Whether a result of `probe_all` says that the server does not have the file."""
    status = result.response.status_code if isinstance(result, requests.HTTPError) else 0
    return 400 <= status < 500 and status not in BUSY
