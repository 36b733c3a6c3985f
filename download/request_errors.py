"""What can go wrong with a request: check its response, and describe an error in one line."""

import http.client
import re
import socket
import ssl
from urllib.parse import urlsplit

import requests

from download.http_session import Interrupted, UnexpectedContent
from download.model_sources import is_hub_url

PROXY = "the proxy (see HTTPS_PROXY, HTTP_PROXY and ALL_PROXY)"
CA_BUNDLE = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"
PROXY_LOGIN = "the proxy requires a user name and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"

# The hub's X-Error-Code -> what it means, for a model that this user may not read.
ACCESS_ERRORS = {
    "GatedRepo": "the model is gated",
    "RepoNotFound": "the model does not exist, or it is private or gated",
}
# OpenSSL's codes for a certificate that is expired or not valid yet, and for one of another host.
CLOCK_ERRORS = (9, 10)
HOST_ERRORS = (62, 64)


def describe_error(error, url):
    """Describe in one line why a request for `url` failed. It quotes no exception: some contain passwords."""
    if isinstance(error, (requests.HTTPError, Interrupted)):  # raised here, with a message of ours
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        hint = f"; check {CA_BUNDLE}" if "CA certificate bundle" in str(error) else ""
        return f"{error}{hint}"
    request = getattr(error, "request", None)
    host = host_of(url if request is None else request.url)
    if isinstance(error, requests.exceptions.ProxyError):
        host = PROXY
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in str(error):
        return (
            "a SOCKS proxy is set (see ALL_PROXY, HTTPS_PROXY and HTTP_PROXY), which needs PySocks: "
            "pip install pysocks, or unset the variable"
        )
    if isinstance(error, requests.exceptions.InvalidURL):
        return f"an address is invalid: that of {host}, of a redirect from it, or of {PROXY}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"{host} does not answer"
    causes = find_causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return describe_certificate(host, cause.verify_code, cause.verify_message)
        if type(cause).__name__ == "CertificateError":  # urllib3 1 compares the names itself
            return describe_certificate(host, HOST_ERRORS[0], str(cause))
    reason = next(filter(None, map(describe_cause, causes)), type(error).__name__)
    return f"the connection to {host} failed: {reason}"


def find_causes(error):
    """List an exception and the exceptions inside it or before it, the outermost first."""
    causes = [error]
    for cause in causes:  # the loop appends to it
        inner = [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]
        causes += [other for other in inner if isinstance(other, Exception) and other not in causes]
    return causes


def describe_certificate(host, code, reason):
    """Describe why the certificate of a host is not trusted, by OpenSSL's code and reason, and what to do."""
    if code in CLOCK_ERRORS:
        hint = "check the date and the time of this computer"
    elif code in HOST_ERRORS:
        hint = "check the name; this network may require a login or a proxy"
    else:
        hint = "if a proxy of your network replaces certificates, set REQUESTS_CA_BUNDLE to its CA file"
    return f"the certificate of {host} is not trusted: {reason.rstrip('.')}; {hint}"


def describe_cause(error):
    """Describe one cause of a failed connection; None if the exception says nothing."""
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it closed the connection without a response"
    if isinstance(error, ssl.SSLError) and error.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
        return f"there is no certificate in the file that {CA_BUNDLE} names"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS error {error.reason}"
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        if tunnel := re.match(r"Tunnel connection failed: (\d{3})", str(error)):
            return PROXY_LOGIN if tunnel[1] == "407" else f"it returned status {tunnel[1]}"
        return error.strerror
    return None


def host_of(url):
    """The host and port in a URL, without user name and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def check_response(response):
    """Raise requests.HTTPError or UnexpectedContent unless the response carries the file or a part of it."""
    url, host = (response.history or [response])[0].url, host_of(response.url)
    status = response.status_code
    if status not in (200, 206):
        hint = find_hint(response, url)
        raise requests.HTTPError(f"{host} returned status {status} for {url}{hint}", response=response)
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        hint = "this network may require a login or a proxy"
        raise UnexpectedContent(f"{host} returned a web page instead of {url}; {hint}")


def find_hint(response, url):
    """Say what a status means and what to do -> "; " and the hint, or ""."""
    status, code = response.status_code, response.headers.get("X-Error-Code")
    if status == 407:
        return f"; {PROXY_LOGIN}"
    if code == "RevisionNotFound":
        return "; the model has no such branch, tag or commit: check the name after @"
    if code == "EntryNotFound":
        return "; the model has no such file"
    if response.headers.get("X-Error-Message") == "Access to this resource is disabled.":
        return "; the hub has disabled this model"
    if code in ACCESS_ERRORS or (status in (401, 403) and is_hub_url(url)):
        return f"; {describe_access(response, url, code)}"
    if status in (401, 403, 404):
        return "; check that the model exists and is public"
    return ""


def describe_access(response, url, code):
    """Describe why the hub refuses a model to this user, and what to do."""
    page = url.split("/resolve/")[0]
    problem = ACCESS_ERRORS.get(code, "the model is gated or private")
    first = (response.history or [response])[0]
    if "Authorization" not in first.request.headers:
        return f"{problem}: accept its terms on {page}, and set HF_TOKEN to a token of your account"
    if response.status_code == 401 and code not in ACCESS_ERRORS:
        problem = "the token that was sent is invalid"
    return (
        f"{problem}; the token that was sent has no access: accept the terms on {page} with its account, "
        "or set HF_TOKEN to another token"
    )
