"""The routes of the page: its files, the panels of a text, and the tokens that Step and Run draw."""

import json
from pathlib import Path

import anyio
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from serve.drawing import draw_tokens
from serve.errors import json_response
from serve.explanations import source_code
from serve.inspection import inspect_ids
from serve.json_fields import read_json
from serve.page_requests import read_page_text, read_settings

FOLDER = Path(__file__).resolve().parent / "page"
FILES = {
    "index.html": "text/html",
    "page.css": "text/css",
    "panels.css": "text/css",
    "page.js": "text/javascript",
    "panels.js": "text/javascript",
    "sampler.js": "text/javascript",
    "server.js": "text/javascript",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def page_routes(model):
    """Returns a list of Starlette routes."""
    files = {f"/{name}": file_endpoint(name, media_type) for name, media_type in FILES.items()}
    return [
        Route("/", files["/index.html"]),
        *(Route(path, endpoint) for path, endpoint in files.items()),
        Route("/about", about_endpoint(model)),
        Route("/inspect", inspect_endpoint(model), methods=["POST"]),
        Route("/run", run_endpoint(model), methods=["POST"]),
    ]


def file_endpoint(name, media_type):
    """Returns the function that answers with a file. It reads nothing else, whatever the request says."""
    content = (FOLDER / name).read_bytes()

    async def read_file(request):
        return Response(content, headers=HEADERS, media_type=media_type)

    return read_file


def about_endpoint(model):
    """Returns the function that describes the model and the code."""
    content = {"name": model.name, "hparams": model.hparams, "code": source_code()}

    async def about(request):
        return json_response(content, headers=HEADERS)

    return about


def inspect_endpoint(model):
    """Returns the function that computes the panels of a text."""
    one_at_a_time = anyio.CapacityLimiter(1)  # the logits of all tokens need much memory

    async def inspect(request):
        text = read_page_text(await read_json(request), model)
        ids = text.prompt_ids, text.drawn_ids
        panels = await anyio.to_thread.run_sync(inspect_ids, model, *ids, limiter=one_at_a_time)
        content = {"text": text.shown, "prompt": text.prompt, "n_tokens": sum(map(len, ids))}
        return json_response(content | panels, headers=HEADERS)

    return inspect


def run_endpoint(model):
    """Returns the function that draws tokens. It sends a line of JSON for each as soon as it is known.

    When the client closes the connection, the drawing ends.
    """

    async def run(request):
        fields = await read_json(request)
        text, settings = read_page_text(fields, model), read_settings(fields, model)
        tokens = draw_tokens(model, text.prompt_ids, text.drawn_ids, **settings)
        lines = (json.dumps(token) + "\n" for token in tokens)
        return StreamingResponse(lines, headers=HEADERS, media_type="application/x-ndjson")

    return run
