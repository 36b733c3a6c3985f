"""Check who sends a request: only programs of this user and the server's own page, or owners of the key.

A web page of another site can send requests to this machine from the user's browser. Its `Origin` header then
names the other site. In a DNS rebinding attack, the name of that site leads to this machine, so that the
browser takes both for one. Its `Host` header still has that name.
"""

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from serve.errors import ApiError, error_response


class AccessCheck:
    """Middleware that passes on requests with a good Host, Origin and key, and answers all others itself.

    Args:
        app: the application to protect.
        host: the name or address that the server listens on.
        api_key: the key that every request must have, or None.
    """

    def __init__(self, app, host, api_key=None):
        self.app, self.host, self.api_key = app, host, api_key

    async def __call__(self, scope, receive, send):
        app = self.app
        if scope["type"] == "http":
            try:
                self.check(Request(scope).headers)
            except ApiError as error:
                app = error_response(error)
        await app(scope, receive, send)

    def check(self, headers):
        """Raise ApiError if a header is wrong."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_trusted_host(host, self.host):
            message = f"Host {host!r} is not allowed: use an IP address, localhost, or the name in --host"
            raise ApiError(message, 403, code="host_not_allowed")
        if origin is not None and origin != f"http://{host}":
            raise ApiError(f"Origin {origin!r} is not this server", 403, code="origin_not_allowed")
        if self.api_key is not None and not has_key(headers.get("authorization", ""), self.api_key):
            message = "the header Authorization: Bearer KEY is missing or has another key"
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(message, 401, code="invalid_api_key", headers=headers)


def is_trusted_host(header, own_name):
    """Whether a Host header is an address, localhost or the server's own name. DNS rebinding needs another.

    Any port is fine: a tunnel or a container may have another one than the server.
    """
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:  # an invalid IPv6 address
        return False
    return name in ("localhost", own_name.lower()) or is_ip_address(name)


def is_ip_address(name):
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def has_key(authorization, api_key):
    """Compare in constant time, so that the time of the answer tells nothing about the key."""
    return hmac.compare_digest(authorization.encode(), f"Bearer {api_key}".encode())
