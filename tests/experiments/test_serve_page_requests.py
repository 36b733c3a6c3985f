"""The requests of the page over HTTP: its files, its headers, and one error for each bad field."""

import contextlib
import gzip
import json
import threading
import time

import httpx
import pytest
import serve.page_routes
import uvicorn
from serve.loaded_model import load_model
from starlette.applications import Starlette
from support.experiment_helpers import PROMPT
from support.paths import EXPERIMENTS

FOLDER = EXPERIMENTS / "serve" / "page"
TEXT = {"text": PROMPT, "chosen": [], "drawn": []}
SETTINGS = {"seed": 1, "n_tokens": 2, "temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
BAD_TEXTS = [
    ({"text": None}, "text"),
    ({"text": ["a"]}, "text"),
    ({"text": "\ud800"}, "text"),
    ({"text": "a" * 100_001}, "text"),
    ({"chosen": 3}, "chosen"),
    ({"chosen": [4096]}, "chosen"),
    ({"drawn": [-1]}, "drawn"),
    ({"drawn": [True]}, "drawn"),
    ({"drawn": [0.5]}, "drawn"),
    ({"drawn": [1] * 1001}, "drawn"),
]
BAD_SETTINGS = [
    ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"seed": "1"}, "seed"),
    ({"n_tokens": 0}, "n_tokens"),
    ({"n_tokens": 1001}, "n_tokens"),
    ({"top_k": 1.5}, "top_k"),
    ({"top_k": -1}, "top_k"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 1e300}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"min_p": 2}, "min_p"),
    ({"min_p": "a"}, "min_p"),
]


@pytest.mark.parametrize("name", ["", *(path.name for path in FOLDER.iterdir())])
def test_files_of_the_page_have_strict_headers(api_client, name):
    response = api_client.get(f"/{name}")
    assert response.status_code == 200
    assert response.content == (FOLDER / (name or "index.html")).read_bytes()
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_page_is_small():
    """Under 60 kB as they are, under 20 kB compressed."""
    contents = [path.read_bytes() for path in FOLDER.iterdir()]
    assert sum(map(len, contents)) < 60_000
    assert len(gzip.compress(b"".join(contents))) < 20_000


@pytest.mark.parametrize(
    "path",
    [
        "/page_routes.py",
        "/page/index.html",
        "/../app.py",
        "/%2e%2e/app.py",
        "/..%2fapp.py",
        "/page.js/../../app.py",
        "//etc/passwd",
        "/page.js%00",
        "/index.htm",
    ],
)
def test_no_other_file_can_be_read(api_client, path):
    assert api_client.get(f"{api_client.base_url}{path}").status_code == 404


@pytest.mark.parametrize(("change", "field"), BAD_TEXTS)
@pytest.mark.parametrize("path", ["/inspect", "/run"])
def test_a_bad_text_is_an_error_that_names_the_field(api_client, path, change, field):
    assert_error(api_client, path, TEXT | SETTINGS | change, field)


@pytest.mark.parametrize(("change", "field"), BAD_SETTINGS)
def test_a_bad_setting_is_an_error_that_names_the_field(api_client, change, field):
    assert_error(api_client, "/run", TEXT | SETTINGS | change, field)


def assert_error(client, path, content, field):
    response = client.post(path, content=json.dumps(content))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == field


@pytest.mark.parametrize("path", ["/inspect", "/run"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_anything_but_a_json_object_is_an_error(api_client, path, content):
    response = api_client.post(path, content=content)
    assert response.status_code == 400
    assert "JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/inspect", "/run"])
def test_a_request_that_is_too_long_is_rejected(api_client, path):
    response = api_client.post(path, content=json.dumps(TEXT | {"text": "a" * 2**20}))
    assert response.status_code == 413


def test_a_missing_field_is_an_error(api_client):
    for name in TEXT:
        content = {key: value for key, value in TEXT.items() if key != name}
        assert_error(api_client, "/inspect", content, name)


def test_only_an_exact_prompt_is_offered_to_gpt2(api_client, encoder):
    """Two tokens that `encode` would merge are no prompt of gpt2.py. Neither are half a character and ids of
    added tokens."""

    def prompt_of(text, chosen):
        content = {"text": text, "chosen": chosen, "drawn": []}
        return api_client.post("/inspect", content=json.dumps(content)).json()["prompt"]

    assert prompt_of(PROMPT, []) == PROMPT
    assert prompt_of("The", encoder.encode(" cat")) == "The cat"
    assert prompt_of("The c", encoder.encode("at")) is None
    assert prompt_of("The", encoder.encode("猫")[:1]) is None
    assert prompt_of("The", [encoder.end_of_text]) is None
    assert prompt_of("", []) == ""


@contextlib.contextmanager
def served(app):
    """Serve an application from a thread. Yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname())
    server.should_exit = True
    thread.join()


def test_closing_the_connection_ends_the_drawing(endless_model, monkeypatch):
    """The model does not end its text."""
    draw_tokens, n_drawn = serve.page_routes.draw_tokens, []

    def recorded(*args, **options):
        for token in draw_tokens(*args, **options):
            n_drawn.append(token)
            yield token

    monkeypatch.setattr(serve.page_routes, "draw_tokens", recorded)
    content = TEXT | SETTINGS | {"n_tokens": 200}
    app = Starlette(routes=serve.page_routes.page_routes(load_model(endless_model)))
    with served(app) as url:
        with httpx.stream("POST", f"{url}/run", json=content, trust_env=False, timeout=60) as response:
            first = next(response.iter_lines())
        assert json.loads(first) == n_drawn[0]
        deadline = time.monotonic() + 60
        n_before = -1
        while n_before < len(n_drawn) and time.monotonic() < deadline:
            n_before = len(n_drawn)
            time.sleep(1)
    assert len(n_drawn) < 200
