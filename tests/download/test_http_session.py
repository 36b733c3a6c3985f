"""The retry policy of HTTP sessions."""

import urllib3

from download import http_session


def retry_after(value):
    """The seconds to wait after a response with status 429 and this Retry-After header."""
    response = urllib3.HTTPResponse(headers={"Retry-After": value}, status=429)
    return http_session.RETRIES.get_retry_after(response)


def test_retry_after_is_limited_to_a_minute():
    assert retry_after("7") == 7
    assert retry_after("3600") == http_session.MAX_RETRY_AFTER == 60
    assert retry_after("Wed, 21 Oct 2099 07:28:00 GMT") == 60


def test_invalid_retry_after_is_ignored():
    for value in ("", "soon", "-5", "9" * 5000, "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"):
        assert retry_after(value) in (0, 60)
