"""train_jax.py --state: interrupted trainings resume; without --state, Ctrl-C leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import train_jax
from helpers.hub_folder import byte_encoder
from helpers.training_state import TrainingState, fingerprint
from support.paths import EXPERIMENTS, posix

from encoder import Encoder
from loading.untrusted_files import CheckpointError

ENCODERS = (byte_encoder(), Encoder(byte_encoder().encoder | {"ab": 257}, [("a", "b")]))
ARGUMENTS = {"n_layer": 1, "n_embd": 16, "n_steps": 1200}
FLAGS = ("names", *(f"--{name}={value}" for name, value in ARGUMENTS.items()), "--state=state.npz")


def start(tmp_path, *flags):
    command = [sys.executable, "-u", EXPERIMENTS / "train_jax.py", *flags]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=tmp_path, encoding="utf-8", **streams)


def n_done(path):
    """The number of steps in a state file."""
    if not path.exists():
        return 0
    with np.load(path) as arrays:
        return int(arrays["n_done"])


@posix
def test_interrupted_training_resumes_with_equal_weights(tmp_path, monkeypatch, capsys):
    """The first run is killed, the second is stopped by Ctrl-C, the third completes the training."""
    state, steps = tmp_path / "state.npz", [0]
    for stop in (signal.SIGKILL, signal.SIGINT):
        with start(tmp_path, *FLAGS) as process:
            while process.poll() is None and n_done(state) < steps[-1] + 100:
                time.sleep(0.001)
            process.send_signal(stop)
            process.communicate(timeout=60)
        assert process.returncode == (130 if stop == signal.SIGINT else -stop)
        steps.append(n_done(state))
    assert 100 <= steps[1] < steps[2] < 1200

    monkeypatch.chdir(tmp_path)
    train_jax.main("names", **ARGUMENTS, state="state.npz")
    resumed = capsys.readouterr().out
    assert n_done(state) == 1200
    train_jax.main("names", **ARGUMENTS, out="uninterrupted")
    assert capsys.readouterr().out == resumed.replace("=names", "=uninterrupted")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("names", "uninterrupted")]
    assert weights[0] == weights[1]

    before = state.read_bytes()
    with pytest.raises(
        ValueError, match=r"state\.npz belongs to other flags or another text: choose another"
    ):
        train_jax.main("names", **ARGUMENTS, batch_size=31, state="state.npz", out="other")
    assert state.read_bytes() == before


def test_fingerprint_depends_on_settings_texts_and_tokenizer():
    runs = [
        (settings, texts, encoder)
        for settings in ([1], [2])
        for texts in (["a"], ["b"])
        for encoder in ENCODERS
    ]
    assert len({fingerprint(*run) for run in runs}) == len(runs) == 8
    assert fingerprint([1], ["a"], byte_encoder()) == fingerprint([1], ["a"], byte_encoder())


def new_state(tmp_path):
    return TrainingState(tmp_path / "state.npz", "run", check_interrupt=lambda: None)


ARRAYS = [np.ones((2, 3), np.float32), np.int32(5)]


def test_damaged_state_is_an_error(tmp_path):
    new_state(tmp_path).save(7, ARRAYS)
    content = (tmp_path / "state.npz").read_bytes()
    n_steps, arrays = new_state(tmp_path).load(ARRAYS)
    assert n_steps == 7
    np.testing.assert_array_equal(arrays[0], ARRAYS[0])
    (tmp_path / "state.npz").write_bytes(content[:-50])
    with pytest.raises(CheckpointError, match="not a file of plain arrays"):
        new_state(tmp_path).load(ARRAYS)


@pytest.mark.parametrize(
    "stored", [ARRAYS[:1], [np.ones((3, 2), np.float32), np.int32(5)], [*ARRAYS[:1], 5.0]]
)
def test_state_with_other_arrays_is_an_error(tmp_path, stored):
    new_state(tmp_path).save(7, stored)
    with pytest.raises(CheckpointError, match=r"is damaged: arr_\d is missing or has another shape"):
        new_state(tmp_path).load(ARRAYS)


@posix
@pytest.mark.parametrize("seconds", [0, 0.7, 3])  # before, during and after the compilation
def test_ctrl_c_leaves_nothing_behind(tmp_path, seconds):
    with start(tmp_path, "sort", "--n_steps=100000") as process:
        assert "texts for training" in process.stdout.readline()
        assert len(os.listdir(tmp_path)) == 1
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "")
    assert os.listdir(tmp_path) == []
