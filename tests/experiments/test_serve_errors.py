"""The API of serve.py rejects bad requests in OpenAI's format, and requests of strangers."""

import json
import signal

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.api_server import running_server
from support.paths import posix

KEY = "a secret key"
BAD_FIELDS = [
    ("model", "gpt-4"),
    ("model", 5),
    ("prompt", 5),
    ("prompt", []),
    ("prompt", [[]]),
    ("prompt", ["a", [1]]),
    ("prompt", ["a", 1]),
    ("prompt", [1, "a"]),
    ("prompt", [1, True]),
    ("prompt", [4096]),
    ("prompt", [-1]),
    ("prompt", [1.0]),
    ("prompt", {}),
    ("prompt", "\ud800"),
    ("prompt", ["a"] * 129),
    ("prompt", "a" * 300),
    ("prompt", "a " * 250_000),
    ("prompt", [1] * 256),
    ("max_tokens", -1),
    ("max_tokens", 257),
    ("max_tokens", 1.0),
    ("max_tokens", "1"),
    ("max_tokens", True),
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "hot"),
    ("temperature", 10**400),
    ("top_p", 0),
    ("top_p", 1.1),
    ("n", 0),
    ("n", 129),
    ("stop", ""),
    ("stop", 5),
    ("stop", ["a", ""]),
    ("stop", ["a"] * 5),
    ("stop", "a" * 257),
    ("seed", -1),
    ("seed", 2**63),
    ("seed", 1.5),
    ("logprobs", 6),
    ("logprobs", -1),
    ("logprobs", True),
    ("echo", 1),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("best_of", 2),
    ("suffix", "end"),
    ("presence_penalty", 0.5),
    ("frequency_penalty", -1),
    ("logit_bias", {"50": -100}),
    ("top_k", 5),
    ("messages", []),
    ("\ud800", 1),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=2),
    max_leaves=4,
)


@pytest.fixture
def ask(api_client):
    """ask(**fields): the status and the error of POST /v1/completions."""

    def ask(path="/v1/completions", **fields):
        fields = {"model": "demo", "prompt": "Tom", "max_tokens": 1, **fields}
        response = api_client.post(path, content=json.dumps(fields))
        return response.status_code, error_of(response)

    return ask


def error_of(response):
    """The error in a response, or None. Its format is that of OpenAI."""
    body = response.json()
    if response.status_code == 200:
        assert "error" not in body
        return None
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["message"]
    return body["error"]


def rejected(status, error, param):
    return 400 <= status < 500 and error["param"] == param and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("name", "value"), BAD_FIELDS, ids=lambda value: repr(value)[:30])
def test_an_error_names_the_field(ask, name, value):
    status, error = ask(**{name: value})
    assert status == (404 if name == "model" else 400)
    assert rejected(status, error, name)
    assert repr(name)[1:-1] in error["message"] or name == "prompt"
    assert len(error["message"]) < 300


def test_prompt_and_new_tokens_must_fit_the_context(ask, encoder):
    assert ask(prompt=[1] * 250, max_tokens=6) == (200, None)
    status, error = ask(prompt=[1] * 250, max_tokens=7)
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert "250" in error["message"] and "256" in error["message"]


def test_stream_options_are_checked(ask):
    for options in ({"include_usage": 1}, {"other": True}, [], True):
        status, error = ask(stream=True, stream_options=options)
        assert status == 400
        assert error["param"] in ("stream_options", "include_usage")


def test_prompts_times_n_are_limited(ask):
    assert rejected(*ask(prompt=["a"] * 65, n=2), "n")


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "\ud800"}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": []}, "messages"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": 1}, "add_special_tokens"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": [4096]}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [], "prompt": "a"}, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "gpt-4"}, "model"),
    ],
)
def test_tokenizer_errors_name_the_field(api_client, path, fields, param):
    response = api_client.post(path, content=json.dumps(fields))
    assert rejected(response.status_code, error_of(response), param)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(sorted({name for name, _ in BAD_FIELDS})), VALUES, max_size=4))
def test_any_fields_get_an_answer_or_their_error(api_client, fields):
    fields = {"prompt": "Tom", "max_tokens": 1, **fields}
    response = api_client.post("/v1/completions", content=json.dumps(fields))
    assert response.status_code in (200, 400, 404)
    if fields.get("stream") is not True or response.status_code != 200:
        error_of(response)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"5", 400),
        (b'{"prompt": "\xff"}', 400),
        (b'{"temperature": NaN}', 400),
        (b'{"max_tokens": ' + b"9" * 10_000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": "' + b"a" * 2**20 + b'"}', 413),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/detokenize"])
def test_bad_bodies_are_rejected(api_client, path, body, status):
    response = api_client.post(path, content=body)
    assert (response.status_code, error_of(response)["param"]) == (status, None)
    response = api_client.post(path, content=iter([body]))  # without Content-Length
    assert response.status_code == status


def test_unknown_paths_and_methods_are_errors(api_client):
    for method, path, status in [
        ("GET", "/v1/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/../serve.py", 404),
        ("GET", "/v1/models/..%2f..%2fserve.py", 404),
        ("GET", "//etc/passwd", 404),
    ]:
        response = api_client.request(method, path)
        assert response.status_code == status
        assert path.split("/")[-1][-8:] in error_of(response)["message"]


# Access.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"}, 200),
        ({"Host": "example.com"}, 403),
        ({"Host": "example.com:{port}", "Origin": "http://example.com:{port}"}, 403),
        ({"Host": "localhost.example.com"}, 403),
        ({"Host": "127.0.0.1.example.com"}, 403),
        ({"Host": "localhost@example.com"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),  # the request goes to 127.0.0.1
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/models"), ("POST", "/v1/completions")])
def test_other_web_pages_cannot_use_the_server(api_client, method, path, headers, status):
    headers = {name: value.format(port=api_client.base_url.port) for name, value in headers.items()}
    response = api_client.request(method, path, headers=headers, json={"prompt": "Tom", "max_tokens": 1})
    assert response.status_code == status
    error_of(response)


@pytest.mark.parametrize("has_flag", [True, False])
def test_a_key_protects_all_paths(has_flag):
    arguments, changes = ([f"--api_key={KEY}"], {}) if has_flag else ([], {"GPT2_API_KEY": KEY})
    with running_server(*arguments, **changes) as (url, process):
        paths = ("/", "/v1/models", "/tokenizer_info")
        for authorization in (None, "", KEY, "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer \xff"):
            headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
            for path in paths:
                response = httpx.get(url + path, headers=headers, trust_env=False)
                assert response.status_code == 401
                assert KEY not in error_of(response)["message"]
        headers = {"Authorization": f"Bearer {KEY}"}
        codes = [httpx.get(url + path, headers=headers, trust_env=False).status_code for path in paths]
        assert codes == [404, 200, 200]  # there is no page
        process.terminate()
        assert KEY not in process.communicate(timeout=60)[0]


# The process.


@posix
def test_ctrl_c_ends_streams_and_the_process():
    fields = {"prompt": ["Tom"] * 32, "max_tokens": 250, "stream": True}
    with running_server() as (url, process):
        with httpx.stream("POST", f"{url}/v1/completions", json=fields, trust_env=False) as response:
            lines = filter(None, response.iter_lines())
            next(lines)
            process.send_signal(signal.SIGINT)
            *_, last = lines
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_stops"
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 130


def test_a_port_in_use_is_an_error(api_server, run_experiment):
    port = api_server.url.rpartition(":")[2]
    status, stdout, stderr = run_experiment("serve.py", "demo", f"--port={port}")
    assert (status, stdout) == (1, "")
    assert stderr.startswith("serve.py: ") and stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--port=65536", "--port takes a whole number up to 65535, not 65536"),
        ("--api_key=schlüssel", "--api_key takes printable ASCII characters"),
    ],
)
def test_wrong_flags_are_errors(run_experiment, flag, message):
    assert run_experiment("serve.py", "demo", flag) == (2, "", f"serve.py: {message}\n")
