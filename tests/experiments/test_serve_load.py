"""serve.py under load: a bounded queue, shared batches, clients that disconnect; flat memory and threads."""

import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import serve.engine
import uvicorn
from serve.app import make_app
from serve.completion_request import CompletionRequest
from serve.engine import Engine, Text
from serve.errors import ApiError
from serve.loaded_model import load_model

from generation.batches import text_seed

PROMPTS = ["Tom", "The king", "Once upon a time there was a", "a", "\n", "猫"]
KINDS = ("whole", "stream", "disconnect", "too long", "too large", "malformed")
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def engine_model():
    return load_model("demo")


@pytest.fixture
def engine(engine_model):
    engine = Engine(engine_model)
    yield engine
    engine.close()


@pytest.fixture
def passes(monkeypatch):
    """The number of texts in each batch of the engine."""
    sizes = []
    generate_batch = serve.engine.generate_batch

    def recorded(prompts, **task):
        sizes.append(len(prompts))
        return generate_batch(prompts, **task)

    monkeypatch.setattr(serve.engine, "generate_batch", recorded)
    return sizes


def make_text(model, emit, ids=(50, 60), **changes):
    """A Text with the settings of `changes`."""
    settings = {"max_tokens": 4, "temperature": 0, "top_p": 1.0, "stop": [], "logprobs": None, "echo": False}
    settings |= {"prompts": None, "n": 1, "seed": None, "is_stream": False, "has_usage": False, **changes}
    return Text(0, list(ids), None, CompletionRequest(**settings), model.encoder, emit)


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The engine.


def test_texts_with_the_same_settings_share_a_batch(engine, engine_model, passes):
    parts = []
    changes = [{"temperature": t, "max_tokens": n} for t, n in [(0, 9), (1, 4), (0, 4), (0.5, 2), (1, 2)]]
    texts = [make_text(engine_model, parts.append, **change) for change in changes]
    engine.submit(texts)
    wait_for(lambda: all(text.is_done for text in texts))
    assert passes == [2, 2, 1]
    assert sum(part["finish_reason"] is not None for part in parts) == 5


def test_batches_are_limited(engine, engine_model, passes, monkeypatch):
    monkeypatch.setattr(serve.engine, "BATCH_SIZE", 3)
    texts = [make_text(engine_model, lambda part: None) for _ in range(8)]
    engine.submit(texts)
    wait_for(lambda: all(text.is_done for text in texts))
    assert passes == [3, 3, 2]
    monkeypatch.setattr(serve.engine, "MAX_CACHE_BYTES", 0)
    texts = [make_text(engine_model, lambda part: None) for _ in range(2)]
    engine.submit(texts)
    wait_for(lambda: all(text.is_done for text in texts))
    assert passes[3:] == [1, 1]


def test_a_cancelled_text_takes_no_more_tokens(engine, engine_model):
    def cancel(part):
        text.is_done = True

    text = make_text(engine_model, cancel, max_tokens=200)
    other = make_text(engine_model, lambda part: None, max_tokens=20)
    engine.submit([text, other])
    wait_for(lambda: other.is_done)
    assert (text.n_tokens, other.n_tokens) == (1, 20)


def test_a_full_queue_rejects_texts_and_cancelled_ones_leave_it(engine, engine_model):
    entered, release = threading.Event(), threading.Event()

    def hold(part):
        entered.set()
        release.wait(120)

    engine.submit([make_text(engine_model, hold)])
    entered.wait(120)
    waiting = [make_text(engine_model, lambda part: None) for _ in range(serve.engine.MAX_WAITING)]
    engine.submit(waiting)
    extra = make_text(engine_model, lambda part: None)
    with pytest.raises(ApiError) as caught:
        engine.submit([extra])
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
    waiting[0].is_done = True
    engine.submit([extra])
    for text in waiting:
        text.is_done = True
    release.set()
    wait_for(lambda: extra.is_done)
    assert extra.n_tokens == 4


def test_an_error_ends_its_batch_alone(engine, engine_model, capsys):
    """Logits that overflow raise, also in the engine's thread."""
    results = []
    wte = engine.model["params"]["wte"]
    engine.model["params"] = {**engine.model["params"], "wte": wte * np.float32(1e38)}
    engine.submit([make_text(engine_model, results.append), make_text(engine_model, results.append)])
    wait_for(lambda: len(results) == 2)
    assert [error.status for error in results] == [500, 500]
    engine.model["params"] = {**engine.model["params"], "wte": wte}
    text = make_text(engine_model, results.append)
    engine.submit([text])
    wait_for(lambda: text.is_done)
    assert len(results) == 6
    assert "FloatingPointError" in capsys.readouterr().err


def test_a_closed_engine_fails_all_texts(engine, engine_model):
    """At once, even those of a batch that runs."""
    entered, release, results = threading.Event(), threading.Event(), []

    def hold(part):
        results.append(part)
        entered.set()
        release.wait(120)

    engine.submit([make_text(engine_model, hold)])
    entered.wait(120)
    engine.submit([make_text(engine_model, results.append)])
    threading.Timer(0.1, release.set).start()
    engine.close()
    assert [error.status for error in results[1:]] == [503, 503]
    with pytest.raises(ApiError, match="stops"):
        engine.submit([make_text(engine_model, results.append)])


# The server.


@pytest.fixture
def address(engine, engine_model):
    """The address of the engine's server, in this process."""
    config = uvicorn.Config(make_app(engine_model, engine), http="h11", ws="none", log_level="error")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_a_disconnected_client_stops_its_computation(engine, address, monkeypatch, is_stream):
    texts = []
    submit = engine.submit
    monkeypatch.setattr(engine, "submit", lambda new: (texts.extend(new), submit(new)))
    fields = {"prompt": "Tom", "n": 40, "max_tokens": 250, "stream": is_stream}
    with httpx.Client(trust_env=False, timeout=1 if is_stream else 0.5) as client:
        try:
            with client.stream("POST", f"{address}/v1/completions", json=fields) as response:
                next(response.iter_bytes())
        except httpx.ReadTimeout:
            assert not is_stream
    wait_for(lambda: texts and all(text.is_done for text in texts))
    assert len(texts) == 40
    assert 0 < max(text.n_tokens for text in texts) < 250  # 32 of them ran
    assert min(text.n_tokens for text in texts) == 0  # the others never did


def test_a_full_queue_is_status_429(api_client):
    """32 of the first 128 texts run; then 96, and 224 wait."""
    fields = {"prompt": ["Tom"] * 128, "max_tokens": 250, "stream": True}
    with api_client.stream("POST", "/v1/completions", json=fields) as first:
        lines = first.iter_lines()
        next(lines)
        with api_client.stream("POST", "/v1/completions", json=fields) as second:
            assert second.status_code == 200
            response = api_client.post("/v1/completions", json=fields)
            assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
            assert response.json()["error"]["code"] == "queue_full"
    wait_for(lambda: api_client.post("/v1/completions", json={**fields, "max_tokens": 0}).status_code == 200)


def request_of(number):
    """A request for each kind of client: its kind and its fields."""
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    fields = {"prompt": rng.choice(PROMPTS), "max_tokens": rng.randint(1, 8), "seed": number}
    fields |= {"temperature": rng.choice([0, 1]), "stream": kind == "stream"}
    if kind == "disconnect":
        fields |= {"max_tokens": 200, "n": 4, "stream": rng.random() < 0.5}
    if kind == "too long":
        fields["max_tokens"] = 256
    if kind == "malformed":
        fields["logprobs"] = "many"
    if kind == "too large":
        fields["prompt"] = "a" * 2**20
    return kind, fields


def send(client, number):
    """Send a request. Returns None, or a description of the wrong answer."""
    kind, fields = request_of(number)
    if kind == "disconnect":
        try:
            with client.stream("POST", "/v1/completions", json=fields, timeout=0.1) as response:
                next(response.iter_bytes())
        except httpx.TimeoutException:
            pass
        return None
    response = client.post("/v1/completions", json=fields)
    expected = {"too long": 400, "malformed": 400, "too large": 413}.get(kind, 200)
    if response.status_code != expected:
        return f"{kind}: {response.status_code} {response.text}"
    return None if expected != 200 else (number, text_of(response, fields))


def text_of(response, fields):
    if not fields["stream"]:
        return response.json()["choices"][0]["text"]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if "{" in line]
    return "".join(json.loads(line)["choices"][0]["text"] for line in lines)


def status_of(process):
    """The memory in MB and the number of threads."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values["VmRSS"].split()[0]) / 1e3, int(values["Threads"])


@needs_proc
def test_200_requests_of_16_clients(api_server, api_client, encoder, generated_text):
    """Every text is that of gpt2.py, every bad request gets its own error, and nothing leaks."""

    def send_all(numbers):
        with ThreadPoolExecutor(16) as clients:
            return list(clients.map(lambda number: send(api_client, number), numbers))

    send_all(range(1000, 1048))
    memory, n_threads = status_of(api_server.process)
    answers = [answer for answer in send_all(range(200)) if answer is not None]
    assert [answer for answer in answers if isinstance(answer, str)] == []
    for number, text in answers:
        _, fields = request_of(number)
        seed = text_seed(number, encoder.encode(fields["prompt"]))
        sampling = {"seed": seed, "temperature": fields["temperature"]}
        assert text + "\n" == generated_text(fields["prompt"], fields["max_tokens"], **sampling)
    assert len(answers) > 60
    later_memory, later_threads = status_of(api_server.process)
    assert later_threads <= n_threads + 4
    assert later_memory < memory + 50
