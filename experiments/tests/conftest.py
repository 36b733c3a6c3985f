"""What the experiments' tests share: the experiments as modules and as commands, and the demo model."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the models are small; read when NumPy is imported

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import common

from utils import load_encoder_hparams_and_params

EXPERIMENTS = Path(common.__file__).parent
ROOT = EXPERIMENTS.parent
PROMPT = "The cat sat on the mat because it was tired"
PNG = b"\x89PNG\r\n\x1a\n"

# A shell that runs the tests in the background makes them, and what they start, deaf to Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def demo():
    """The bundled model: encoder, hparams, params."""
    return load_encoder_hparams_and_params("demo")


@pytest.fixture(scope="session")
def encoder(demo):
    return demo[0]


@pytest.fixture(scope="session")
def ids(encoder):
    return encoder.encode(PROMPT)


@pytest.fixture(scope="session")
def model(demo):
    """What the functions of gpt2.py take."""
    _, hparams, params = demo
    return {"params": params, "n_head": hparams["n_head"]}


@pytest.fixture
def reference(demo):
    """The same model in transformers."""
    from reference import reference_model

    _, hparams, params = demo
    return reference_model(params, hparams)


def run_reference(reference, ids, **options):
    import torch

    with torch.no_grad():
        return reference(torch.tensor([ids]), **options)


def texts_of(labels):
    return [label.get_text() for label in labels]


@pytest.fixture
def run(tmp_path):
    """run("attention.py", *arguments): the script, in tmp_path -> (exit status, stdout, stderr)."""

    def run(script, *arguments, **changes):
        done = subprocess.run(
            [sys.executable, EXPERIMENTS / script, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", **changes},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout, done.stderr

    return run
