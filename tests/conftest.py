"""Shared fixtures: strict NumPy, the demo model, servers, and the command line."""

import os

# The test models are small: a second BLAS thread slows them down. NumPy reads this variable at import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from support.bundle_writer import write_bundle
from support.model_server import ModelServer
from support.paths import DATA, HUB_MODEL, ROOT

import cli.exit_status
import cli.flags
import generation.batches
import generation.prompt_lookup
import generation.scoring
import gpt2
from download import http_session, model_sources
from download.model_download import download_model
from encoder import END_OF_TEXT
from generation.min_p_and_repetition import sample
from loading.tf_checkpoint import read_tf_checkpoint
from utils import DEMO_DIR, load_encoder_hparams_and_params

# A shell starts background processes with SIGINT ignored, and they pass that on to their children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No time limit per example: slow machines would fail.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


def pytest_addoption(parser):
    parser.addoption("--fuzz_cases", type=int, default=5000, help="cases of test_damaged_files.py, in total")


@pytest.fixture(autouse=True)
def hub_home(monkeypatch, tmp_path_factory):
    """An empty home folder for the hub's tools, and none of their settings."""
    for name in os.environ:
        if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_", "GPT2_MIRROR")):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("hub")
    monkeypatch.setenv("HF_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def numpy_raises():
    """Make overflow, division by zero and nan errors. Underflow is fine: exp of a masked score is 0."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.fixture(scope="session")
def demo():
    """The bundled model: encoder, hparams, params."""
    return load_encoder_hparams_and_params("demo")


@pytest.fixture
def demo_copy(tmp_path):
    """A copy of the demo model, for tests that damage it."""
    return shutil.copytree(DEMO_DIR, tmp_path / "copy")


@pytest.fixture
def edited_demo(demo_copy):
    """edited_demo(edit): a copy of the demo model after edit(wte, vocabulary), which changes embeddings."""

    def edited_demo(edit):
        checkpoint = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
        variables = {name: np.array(value) for name, value in checkpoint.items()}
        vocabulary = json.loads((demo_copy / "encoder.json").read_text(encoding="utf-8"))
        edit(variables["model/wte"], vocabulary)
        write_bundle(demo_copy / "model.ckpt", variables)
        return demo_copy

    return edited_demo


@pytest.fixture
def endless_model(edited_demo):
    """A model that writes "~" where the demo model ends its text, and then begins another one."""

    def swap(wte, vocabulary):
        pair = [vocabulary["~"], vocabulary[END_OF_TEXT]]
        wte[pair] = wte[pair[::-1]]

    return edited_demo(swap)


@pytest.fixture
def hub_copy(tmp_path):
    """hub_copy(name): a copy of the model data/hub/NAME, for tests that change it."""
    return lambda name: shutil.copytree(DATA / "hub" / name, tmp_path / name)


@pytest.fixture(scope="session")
def demo_logits():
    """Logits of transformers for 20 prompts, from data/make_demo_logits.py; their ids are "prompts"."""
    with np.load(DATA / "demo_logits.npz") as file:
        arrays = dict(file)
    return arrays | {"prompts": np.split(arrays["ids"], np.cumsum(arrays["lengths"])[:-1])}


@pytest.fixture
def forward_passes(monkeypatch):
    """Record the forward passes of all loops: a list of (shape of the inputs, shape of the logits)."""
    calls = []
    forward_pass = gpt2.gpt2

    def recorded(inputs, **kwargs):
        logits = forward_pass(inputs, **kwargs)
        calls.append((np.shape(inputs), logits.shape))
        return logits

    for module in (gpt2, generation.batches, generation.prompt_lookup, generation.scoring):
        monkeypatch.setattr(module, "gpt2", recorded)
    return calls


# Networks.


@pytest.fixture
def dead_address():
    """The address of a local port that refuses connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent_listener():
    """A socket that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(60)
        yield listener


@pytest.fixture
def server(monkeypatch):
    """A mirror on this machine: its 124M and 355M are the demo model, its hf:OWNER/NAME a small hub model."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ModelServer({"124M": DEMO_DIR, "355M": DEMO_DIR, "OWNER/NAME": HUB_MODEL}) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def no_network(dead_address, monkeypatch):
    """Make OpenAI's storage and the hub unreachable."""
    monkeypatch.setattr(model_sources, "OPENAI_URL", dead_address)
    monkeypatch.setattr(model_sources, "HUB_URL", dead_address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def fast_retries(monkeypatch):
    """Retry only twice, without pauses, and with a short timeout."""
    monkeypatch.setattr(http_session, "RETRIES", http_session.RETRIES.new(total=2, backoff_factor=0))
    monkeypatch.setattr(http_session, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(http_session, "MAX_RETRY_AFTER", 0.1)


@pytest.fixture
def model_dir(tmp_path):
    """The folder of `download_124M`, not created yet."""
    return tmp_path / "124M"


@pytest.fixture
def download_124M(server, model_dir, fast_retries):
    """download_124M(): download 124M, which is the demo model, from the server into model_dir."""
    return lambda: download_model("124M", model_dir, server.url)


# The command line.


STREAMS = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture(scope="session")
def generated_ids(demo):
    """generated_ids(prompt, n, seed, **sampling): the new ids of the demo model, computed in this process."""
    encoder, hparams, params = demo

    def generated_ids(prompt, n_tokens_to_generate=40, seed=None, **sampling):
        ids = encoder.encode_prompt(prompt)
        limits = {"n_tokens_to_generate": n_tokens_to_generate, "stop_id": encoder.stop_ids}
        options = {"seed": seed, "sampler": sample, **sampling}
        return list(gpt2.generate(ids, params, hparams["n_head"], **limits, **options))

    return generated_ids


@pytest.fixture(scope="session")
def generated_text(demo, generated_ids):
    """The same as text, as `python gpt2.py` prints it."""
    encoder, _, _ = demo
    return lambda *args, **options: encoder.decode(generated_ids(*args, **options)) + "\n"


@pytest.fixture
def start(dead_address, tmp_path):
    """start(*arguments): run `python gpt2.py` in another folder, without a network. Returns a Popen.

    script: another file of the project. code: Python code instead of a file. proxy: the address of a proxy.
    streams: replaces entries of STREAMS. changes: environment variables.
    """
    running = []

    def start(*arguments, script="gpt2.py", code=None, proxy=dead_address, streams=None, **changes):
        what = ["-c", code] if code else [str(ROOT / script)]
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        env.pop("PYTHONUNBUFFERED", None)  # with a buffer, Python notices a full disk later
        env.update(HTTP_PROXY=proxy, HTTPS_PROXY=proxy, PYTHONIOENCODING="utf-8", PYTHONPATH=str(ROOT))
        env.update(changes)
        process = subprocess.Popen(
            [sys.executable, *what, *arguments],
            cwd=tmp_path,
            env=env,
            encoding="utf-8",
            errors="surrogateescape",
            **STREAMS | (streams or {}),
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    """run(*arguments, piped=None): `start` and wait. piped: stdin. Returns (exit status, stdout, stderr)."""

    def run(*arguments, piped=None, **keywords):
        if piped is not None:
            keywords["streams"] = {"stdin": subprocess.PIPE}
        process = start(*arguments, **keywords)
        stdout, stderr = process.communicate(piped, timeout=120)
        return process.returncode, stdout, stderr

    return run


@pytest.fixture
def run_here(monkeypatch, capsys):
    """run_here(*arguments): like `run`, but in this process, for errors before a model is loaded."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpt2.py", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            cli.exit_status.run(cli.flags.main)
        stdout, stderr = capsys.readouterr()
        return exit_info.value.code, stdout, stderr

    return run_here


@pytest.fixture
def terminal(start):
    """terminal(*arguments, model="demo"): `start` in a terminal. Returns (process, terminal)."""
    ends = []

    def terminal(*arguments, model="demo"):
        ours, theirs = os.openpty()
        ends.append(ours)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
        process = start(f"--model_size={model}", *arguments, streams=streams, TERM="xterm")
        os.close(theirs)
        return process, ours

    yield terminal
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)
