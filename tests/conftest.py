"""What the tests share: NumPy set to complain, the demo model, servers good and bad, and the command line."""

import os

# The models of the tests are small: a second thread of the BLAS costs more than it gives, above all on a
# busy machine. NumPy reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import signal
import socket
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from model_server import ModelServer

import cli
import commands
import download
from utils import DEMO_DIR, load_encoder_hparams_and_params

ROOT = Path(__file__).parent.parent
HUB_MODEL = ROOT / "tests" / "data" / "hub" / "sharded"

# A shell that runs the tests in the background makes them, and what they start, deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A time limit for one example would fail on a slow machine.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(autouse=True)
def numpy_raises():
    """Overflow, division by zero and nan are errors (underflow is not: exp of a masked score is 0)."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.fixture(scope="session")
def demo():
    """The bundled model: encoder, hparams, params."""
    return load_encoder_hparams_and_params("demo")


@pytest.fixture(scope="session")
def demo_logits():
    """What transformers says of 20 prompts, see data/make_demo_logits.py; and "prompts", their ids."""
    with np.load(ROOT / "tests" / "data" / "demo_logits.npz") as file:
        arrays = dict(file)
    return arrays | {"prompts": np.split(arrays["ids"], np.cumsum(arrays["lengths"])[:-1])}


# Networks.


@pytest.fixture
def dead_address():
    """An address on this machine where nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent_listener():
    """A socket that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(60)
        yield listener


@pytest.fixture
def server(monkeypatch):
    """A mirror: 124M and 355M are the demo model, hf:OWNER/NAME is a model that transformers wrote."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ModelServer({"124M": DEMO_DIR, "355M": DEMO_DIR, "OWNER/NAME": HUB_MODEL}) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def impatient(monkeypatch):
    """As little waiting as can be, for what fails again and again."""
    monkeypatch.setattr(download, "RETRIES", download.RETRIES.new(total=2, backoff_factor=0))
    monkeypatch.setattr(download, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(download, "MAX_WAIT", 0.1)


# The command line.


STREAMS = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def start(dead_address, tmp_path):
    """start(*arguments): `python gpt2.py` with them, from another folder and without network, as a Popen.

    `streams` takes the place of STREAMS, name by name; `changes` are those to the environment.
    """
    running = []

    def start(*arguments, script="gpt2.py", code=None, proxy=dead_address, streams=None, **changes):
        what = ["-c", code] if code else [str(ROOT / script)]
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        env.pop("PYTHONUNBUFFERED", None)  # a full disk is noticed later with a buffer than without
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
    """run(*arguments): the same, to its end -> (exit status, stdout, stderr). `piped` is its stdin."""

    def run(*arguments, piped=None, **keywords):
        if piped is not None:
            keywords["streams"] = {"stdin": subprocess.PIPE}
        process = start(*arguments, **keywords)
        stdout, stderr = process.communicate(piped, timeout=120)
        return process.returncode, stdout, stderr

    return run


@pytest.fixture
def run_here(monkeypatch, capsys):
    """run_here(*arguments): as `run`, but in this process, for what ends before a model is loaded."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["gpt2.py", *arguments])
        monkeypatch.setattr(sys, "stdout", sys.stdout)  # run() changes these two
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as exit:
            cli.run(commands.main)
        stdout, stderr = capsys.readouterr()
        return exit.value.code, stdout, stderr

    return run_here
