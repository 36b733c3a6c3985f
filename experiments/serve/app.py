"""The application: the routes of the API and of the page, behind the access check."""

import time

from serve.access import AccessCheck
from serve.errors import ApiError, json_response, on_api_error, on_http_error, on_unexpected_error
from serve.page_routes import page_routes
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

ERROR_HANDLERS = {
    ApiError: on_api_error,
    HTTPException: on_http_error,
    Exception: on_unexpected_error,
}


def make_app(model, host="127.0.0.1", api_key=None):
    """Join the routes of the API and of the page.

    With a key there is no page: a browser cannot send the key when it opens an address.

    Args:
        model: a LoadedModel.
        host: the name or address that the server listens on.
        api_key: the key that every request must have, or None.
    """
    started = int(time.time())

    async def models(request):
        card = {"id": model.name, "object": "model", "created": started, "owned_by": "gpt-2"}
        return json_response({"object": "list", "data": [card]})

    routes = [Route("/v1/models", models)]
    if api_key is None:
        routes += page_routes(model)
    middleware = [Middleware(AccessCheck, host=host, api_key=api_key)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=ERROR_HANDLERS)
