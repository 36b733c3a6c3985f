"""Responses in JSON, and errors in OpenAI's format: {"error": {"message", "type", "param", "code"}}."""

import json

from starlette.responses import Response


class ApiError(Exception):
    """A request that the server rejects. `param` names the field at fault, if there is one."""

    def __init__(self, message, status=400, param=None, code=None, headers=None):
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code
        self.headers = headers

    def content(self):
        """The body of the response."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def json_response(content, status=200, headers=None):
    """Write JSON in ASCII: a message may quote text of the client that has no UTF-8."""
    return Response(json.dumps(content), status, headers, media_type="application/json")


def error_response(error):
    return json_response(error.content(), error.status, error.headers)


async def on_api_error(request, error):
    return error_response(error)


async def on_http_error(request, error):
    """An unknown path or a wrong method."""
    message = f"{error.detail}: {request.method} {request.url.path}"
    return error_response(ApiError(message, error.status_code, headers=error.headers))


async def on_disconnect(request, error):
    """The client has gone: nobody reads this response."""
    return Response(status_code=499)


async def on_unexpected_error(request, error):
    """A bug. Starlette then raises the error again, and uvicorn prints it."""
    return error_response(ApiError("the server failed: its terminal shows the reason", 500))
