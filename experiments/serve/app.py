"""The application: the routes of the API and of the page, behind the access check."""

import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from serve.access import AccessCheck
from serve.completions import completion_endpoint
from serve.errors import (
    ApiError,
    json_response,
    on_api_error,
    on_disconnect,
    on_http_error,
    on_unexpected_error,
)
from serve.page_routes import page_routes
from serve.tokenizer_routes import tokenizer_routes

ERROR_HANDLERS = {
    ApiError: on_api_error,
    ClientDisconnect: on_disconnect,
    HTTPException: on_http_error,
    Exception: on_unexpected_error,
}


def make_app(model, engine, host="127.0.0.1", api_key=None):
    """Join the routes of the API and of the page.

    With a key there is no page: a browser cannot send the key when it opens an address.

    Args:
        model: a LoadedModel.
        engine: the Engine of the model.
        host: the name or address that the server listens on.
        api_key: the key that every request must have, or None.
    """
    routes = [
        Route("/v1/models", models_endpoint(model)),
        Route("/v1/completions", completion_endpoint(model, engine), methods=["POST"]),
        *tokenizer_routes(model),
    ]
    if api_key is None:
        routes += page_routes(model)
    middleware = [Middleware(AccessCheck, host=host, api_key=api_key)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=ERROR_HANDLERS)


def models_endpoint(model):
    """Returns the function that answers GET /v1/models."""
    card = {"id": model.name, "object": "model", "created": int(time.time()), "owned_by": "gpt-2"}

    async def list_models(request):
        return json_response({"object": "list", "data": [card]})

    return list_models
