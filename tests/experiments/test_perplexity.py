"""perplexity.py: its numbers equal transformers' loss, and interrupted runs resume."""

import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import perplexity
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.paths import EXPERIMENTS, posix
from support.random_params import random_params
from support.reference_scores import reference_surprise

from generation.scoring import score_windows

TEXT = (EXPERIMENTS / "data" / "names.txt").read_text(encoding="utf-8")[:2000].strip()
SECOND_TEXT = "Der König, the king."


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """Two documents, together longer than three contexts of the demo model."""
    path = tmp_path_factory.mktemp("texts") / "story.txt"
    path.write_text(f"{TEXT}\n<|endoftext|>\n{SECOND_TEXT}\n", encoding="utf-8", newline="\n")
    return path


def read_results(stdout):
    """Parse the output of perplexity.py: {name: number}."""
    lines = [line.rpartition(" ") for line in stdout.splitlines()]
    return {name.strip(): float(number) for name, _, number in lines}


@pytest.mark.parametrize(("context", "stride"), [(None, None), (32, 32), (100, 30)])
def test_perplexity_equals_transformers(run_experiment, encoder, reference, story, context, stride):
    flags = [f"--context={context}", f"--stride={stride}"] if context else []
    status, stdout, stderr = run_experiment("perplexity.py", "--model_size=demo", *flags, story)
    assert (status, stderr) == (0, "")
    results = read_results(stdout)
    documents = [TEXT, SECOND_TEXT]
    ids = []
    for document in documents:
        ids += [encoder.end_of_text, *encoder.encode(document)]
    n_bytes = sum(len(document.encode()) for document in documents)
    nats = reference_surprise(reference, ids, context or 256, stride or 128)
    assert results["tokens"] == len(ids) - 1 > 3 * 256
    assert results["bytes"] == n_bytes
    assert results["nats per token"] == pytest.approx(nats / (len(ids) - 1), rel=1e-4)
    assert results["perplexity"] == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)
    assert results["bits per byte"] == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-4)


@given(n_ctx=st.integers(1, 8), stride=st.integers(1, 8), n_seq=st.integers(2, 40), data=st.data())
def test_resumed_run_scores_the_same_windows(n_ctx, stride, n_seq, data):
    params = random_params(n_vocab=11, n_ctx=n_ctx, n_embd=4, n_layer=1, std=0.5)
    ids = np.arange(n_seq) ** 2 % 11
    stride = min(stride, n_ctx)
    whole = list(score_windows(ids, params, n_head=2, stride=stride))
    n_done = data.draw(st.integers(0, len(whole)))
    n_scored = sum(map(len, whole[:n_done]))
    rest = list(perplexity.score_rest(n_scored, ids, params, n_head=2, stride=stride))
    assert len(rest) == len(whole) - n_done
    for ours, expected in zip(rest, whole[n_done:], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@posix
def test_killed_run_resumes(run_experiment, story, tmp_path):
    """Two runs are killed. The third run prints the same result as an uninterrupted run."""
    flags = ["--model_size=demo", "--stride=8", "--context=64", story]

    def read_state(name="state.json"):
        path = tmp_path / name
        return json.loads(path.read_text()) if path.exists() else {"n_scored": 0}

    n_done = [0]
    for _ in range(2):
        command = [sys.executable, EXPERIMENTS / "perplexity.py", "--state=state.json", *flags]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        while process.poll() is None and read_state()["n_scored"] < n_done[-1] + 100:
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        n_done.append(read_state()["n_scored"])
    assert 0 < n_done[1] < n_done[2]
    status, stdout, _ = run_experiment("perplexity.py", "--state=state.json", *flags)
    assert status == 0
    assert n_done[2] < read_state()["n_scored"] == read_results(stdout)["tokens"]
    status, uninterrupted, stderr = run_experiment("perplexity.py", "--state=other.json", *flags)
    assert (status, stderr) == (0, "")
    assert read_results(uninterrupted) == pytest.approx(read_results(stdout), rel=1e-6)
    assert read_state()["nats"] == pytest.approx(read_state("other.json")["nats"], rel=1e-7)
    finished = run_experiment("perplexity.py", "--state=state.json", *flags)
    assert finished == (0, stdout, "")


def test_state_of_another_stride_is_rejected(run_experiment, story, tmp_path):
    flags = ["--model_size=demo", "--state=state.json", story]
    assert run_experiment("perplexity.py", *flags)[0] == 0
    before = (tmp_path / "state.json").read_text()
    status, stdout, stderr = run_experiment("perplexity.py", "--stride=100", *flags)
    assert (status, stdout) == (2, "")
    assert stderr.startswith("perplexity.py: state.json belongs to another text, model, context or stride")
    assert (tmp_path / "state.json").read_text() == before


def test_state_of_another_model_is_rejected(model, tmp_path):
    """The other model has the same embeddings."""
    params, n_head = model["params"], model["n_head"]
    state = str(tmp_path / "state.json")
    perplexity.total_surprise([1, 2, 3], params, n_head, 128, state)
    other = {**params, "ln_f": {**params["ln_f"], "g": 2 * params["ln_f"]["g"]}}
    with pytest.raises(ValueError, match="another text, model"):
        perplexity.total_surprise([1, 2, 3], other, n_head, 128, state)


@pytest.mark.parametrize("text", ["", "\n<|endoftext|>\n\n"])
def test_empty_text_is_rejected(run_experiment, tmp_path, text):
    (tmp_path / "empty.txt").write_text(text, encoding="utf-8")
    result = run_experiment("perplexity.py", "--model_size=demo", "empty.txt")
    assert result == (2, "", "perplexity.py: empty.txt is empty\n")


@pytest.mark.parametrize("flag", ["--stride=0", "--context=0", "--context=257"])
def test_window_out_of_range_is_rejected(run_experiment, story, flag):
    status, stdout, stderr = run_experiment("perplexity.py", "--model_size=demo", flag, story)
    assert (status, stdout, stderr.count("\n")) == (2, "", 1)
    assert f"{flag[2:].partition('=')[0]} must be from 1 to " in stderr


def test_damaged_state_is_an_error(run_experiment, story, tmp_path):
    (tmp_path / "state.json").write_text('{"run": ')
    status, stdout, stderr = run_experiment("perplexity.py", "--model_size=demo", "--state=state.json", story)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert "state.json" in stderr


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a", [None, "a"]),
        ("a\n<|endoftext|>\nb", [None, "a", None, "b"]),
        ("a<|endoftext|>b", [None, "a", None, "b"]),
        ("<|endoftext|>\na", [None, "a"]),
        ("a\n<|endoftext|>", [None, "a", None]),
        ("<|endoftext|>a<|endoftext|>\n<|endoftext|>b", [None, "a", None, None, "b"]),
    ],
)
def test_end_of_text_is_a_token_before_each_document_and_at_the_end(encoder, text, pieces):
    expected = []
    for piece in pieces:
        expected += [encoder.end_of_text] if piece is None else encoder.encode(piece)
    assert perplexity.encode_documents(encoder, text) == expected
