"""Fixtures for the experiments: the demo model, its reference in transformers, and a runner for scripts."""

import os
import subprocess
import sys

import pytest
from support.api_server import running_server
from support.browser import open_page, running_browser
from support.experiment_helpers import PROMPT
from support.paths import EXPERIMENTS


@pytest.fixture(scope="session")
def encoder(demo):
    """The tokenizer of the demo model."""
    return demo[0]


@pytest.fixture(scope="session")
def ids(encoder):
    """The ids of PROMPT."""
    return encoder.encode(PROMPT)


@pytest.fixture(scope="session")
def model(demo):
    """The demo model as keyword arguments of `generate` and other functions: params and n_head."""
    _, hparams, params = demo
    return {"params": params, "n_head": hparams["n_head"]}


@pytest.fixture
def reference(demo):
    """The demo model in transformers."""
    from support.transformers_model import reference_model

    _, hparams, params = demo
    return reference_model(params, hparams)


@pytest.fixture
def run_experiment(tmp_path):
    """run_experiment("attention.py", *arguments): run a script in tmp_path.

    changes: environment variables. Returns (exit status, stdout, stderr).
    """

    def run_experiment(script, *arguments, **changes):
        env = {**os.environ, "PYTHONIOENCODING": "utf-8", **changes}
        command = [sys.executable, EXPERIMENTS / script, *map(str, arguments)]
        options = {"cwd": tmp_path, "env": env, "encoding": "utf-8", "timeout": 300}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, **options)
        return done.returncode, done.stdout, done.stderr

    return run_experiment


@pytest.fixture(scope="session")
def api_server():
    """serve.py with the demo model."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def api_client(api_server):
    """An HTTP client of the server."""
    import httpx

    with httpx.Client(base_url=api_server.url, timeout=120, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by playwright."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, api_server):
    """The page of the server, open in Chromium."""
    with open_page(browser, api_server.url) as page:
        yield page
