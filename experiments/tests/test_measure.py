"""The experiments that measure: figures against transformers' loss, and runs that are interrupted."""

import json
import math
import signal
import subprocess
import sys
import time

import lambada
import numpy as np
import perplexity
import pytest
import torch
from conftest import EXPERIMENTS, ROOT
from hypothesis import given
from hypothesis import strategies as st
from random_params import random_params

from gpt2 import score_windows
from utils import MODEL_SIZES

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")[:3000].strip()
IGNORED = -100  # what transformers' loss leaves out


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """Two documents, together longer than three contexts of the demo model."""
    path = tmp_path_factory.mktemp("texts") / "story.txt"
    path.write_text(f"{TEXT}\n<|endoftext|>\nDer König, the king.\n", encoding="utf-8", newline="\n")
    return path


def reference_surprise(reference, ids, context, stride):
    """The sum of transformers' losses over windows as in its guide to perplexity, in nats.

    Each window ends `stride` tokens after the one before it, and its labels are those it has not scored.
    """
    total, end = 0.0, 0
    while end < len(ids) - 1:
        n_new = min(context if end == 0 else stride, len(ids) - 1 - end)
        end += n_new
        inputs = torch.tensor([ids[max(0, end - context) : end + 1]])
        labels = inputs.clone()
        labels[:, :-n_new] = IGNORED
        with torch.no_grad():  # the model itself sees no more than its context: not the last token
            logits = reference(inputs[:, :-1]).logits
        losses = torch.nn.functional.cross_entropy(logits[0], labels[0, 1:], reduction="sum")
        total += losses.item()
    return total


def read_figures(stdout):
    """What perplexity.py prints -> {name: number}."""
    lines = [line.rpartition(" ") for line in stdout.splitlines()]
    return {name.strip(): float(number) for name, _, number in lines}


# perplexity.py


@pytest.mark.parametrize(("context", "stride"), [(None, None), (32, 32), (100, 30)])
def test_perplexity_is_transformers(run, encoder, reference, story, context, stride):
    flags = [f"--context={context}", f"--stride={stride}"] if context else []
    status, stdout, stderr = run("perplexity.py", "--model_size=demo", *flags, story)
    assert (status, stderr) == (0, "")
    figures = read_figures(stdout)
    end = encoder.end_of_text
    documents = [TEXT, "Der König, the king."]
    ids = [id for document in documents for id in [end, *encoder.encode(document)]]
    n_bytes = sum(len(document.encode()) for document in documents)
    nats = reference_surprise(reference, ids, context or 256, stride or 128)
    assert figures["tokens"] == len(ids) - 1 > 3 * 256
    assert figures["bytes"] == n_bytes
    assert figures["nats per token"] == pytest.approx(nats / (len(ids) - 1), rel=1e-4)
    assert figures["perplexity"] == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)
    assert figures["bits per byte"] == pytest.approx(nats / math.log(2) / n_bytes, rel=1e-4)


@given(n_ctx=st.integers(1, 8), stride=st.integers(1, 8), n_seq=st.integers(2, 40), data=st.data())
def test_a_run_that_goes_on_scores_the_same_windows(n_ctx, stride, n_seq, data):
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


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_run_that_is_killed_goes_on(run, story, tmp_path):
    """Killed twice; the third run finds what one without interruption finds."""
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
    status, stdout, _ = run("perplexity.py", "--state=state.json", *flags)
    assert status == 0
    assert n_done[2] < read_state()["n_scored"] == read_figures(stdout)["tokens"]
    assert run("perplexity.py", "--state=other.json", *flags) == (0, stdout, "")
    assert read_state()["nats"] == pytest.approx(read_state("other.json")["nats"], rel=1e-7)
    assert run("perplexity.py", "--state=state.json", *flags) == (0, stdout, "")  # nothing is left to do


def test_a_state_of_another_run_is_refused(run, story, tmp_path):
    flags = ["--model_size=demo", "--state=state.json", story]
    assert run("perplexity.py", *flags)[0] == 0
    before = (tmp_path / "state.json").read_text()
    status, stdout, stderr = run("perplexity.py", "--stride=100", *flags)
    assert (status, stdout) == (2, "")
    assert stderr.startswith("perplexity.py: state.json is of another text, model, context or stride")
    assert (tmp_path / "state.json").read_text() == before


def test_a_state_of_another_model_is_refused(model, tmp_path):
    """Of one with the same embeddings."""
    params, n_head = model["params"], model["n_head"]
    state = str(tmp_path / "state.json")
    perplexity.total_surprise([1, 2, 3], params, n_head, 128, state)
    other = {**params, "ln_f": {**params["ln_f"], "g": 2 * params["ln_f"]["g"]}}
    with pytest.raises(ValueError, match="another text, model"):
        perplexity.total_surprise([1, 2, 3], other, n_head, 128, state)


@pytest.mark.parametrize("text", ["", "\n<|endoftext|>\n\n"])
def test_no_text_is_refused(run, tmp_path, text):
    (tmp_path / "empty.txt").write_text(text, encoding="utf-8")
    status, stdout, stderr = run("perplexity.py", "--model_size=demo", "empty.txt")
    assert (status, stdout, stderr) == (2, "", "perplexity.py: empty.txt is empty\n")


@pytest.mark.parametrize("flag", ["--stride=0", "--context=0", "--context=257"])
def test_a_window_that_cannot_be_is_refused(run, story, flag):
    status, stdout, stderr = run("perplexity.py", "--model_size=demo", flag, story)
    assert (status, stdout, stderr.count("\n")) == (2, "", 1)
    assert f"{flag[2:].partition('=')[0]} must be from 1 to " in stderr


def test_a_damaged_state_is_refused(run, story, tmp_path):
    (tmp_path / "state.json").write_text('{"run": ')
    status, stdout, stderr = run("perplexity.py", "--model_size=demo", "--state=state.json", story)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert "state.json" in stderr


# lambada.py

TEXTS = [
    "The king had three daughters, and the youngest was so beautiful that the king loved her as no king",
    "Once upon a time there was a poor man who had a great many children, and not enough bread, and the man",
    "Then the wolf said to the old woman that he would eat her, and refrigerators.",
    "And they lived happily ever after, as people do in stories of the sea and of the moon's",
    " ".join(["said the king to the"] * 80) + " king ",
]


@pytest.fixture
def lambada_path(tmp_path):
    path = tmp_path / "lambada_test.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def reference_lambada(encoder, reference):
    """Both ways of counting by plain loops over transformers' log-probabilities."""
    last, whole = [], []
    for text in TEXTS:
        before, _, word = text.rstrip().rpartition(" ")
        word_ids = encoder.encode(f" {word}")
        ids = (encoder.encode(before) + word_ids)[-257:]
        with torch.no_grad():
            log_probs = torch.log_softmax(reference(torch.tensor([ids[:-1]])).logits[0], dim=-1)
        of_word = log_probs[-len(word_ids) :]
        own = [row[id].item() for row, id in zip(of_word, word_ids, strict=True)]
        is_best = [row.argmax().item() == id for row, id in zip(of_word, word_ids, strict=True)]
        last.append((own[-1], is_best[-1]))
        whole.append((sum(own), all(is_best)))

    def figures(results):
        return math.exp(-sum(own for own, _ in results) / 5), sum(is_best for _, is_best in results) / 5

    return {"last token": figures(last), "whole word": figures(whole)}


def test_lambada_is_counted_as_by_transformers(demo, encoder, reference, lambada_path):
    _, hparams, params = demo
    texts = lambada.read_texts(lambada_path)
    ours = lambada.evaluate(texts, encoder, params, hparams["n_head"])
    expected = reference_lambada(encoder, reference)
    assert 0 < expected["last token"][1] < 1  # some are right, some are not
    assert ours.keys() == expected.keys()
    for name, figures in expected.items():
        assert ours[name] == pytest.approx(figures, rel=1e-4)


def test_lambada_prints_its_figures(run, encoder, reference, lambada_path):
    status, stdout, stderr = run("lambada.py", "--model_size=demo", lambada_path)
    assert (status, stderr) == (0, "")
    expected = reference_lambada(encoder, reference)
    head, *lines = stdout.splitlines()
    assert head.split() == ["5", "texts", "perplexity", "accuracy"]
    for line, (name, (figure, accuracy)) in zip(lines, expected.items(), strict=True):
        assert line.startswith(name)
        assert float(line.split()[-2]) == pytest.approx(figure, rel=1e-4, abs=0.006)
        assert line.endswith(f" {accuracy:.2%}")


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "[" * 9999, '{"text": 1}', '{"text": " king "}', '{"txt": "a king"}']
)
def test_a_line_that_is_no_text_is_named(run, tmp_path, line):
    (tmp_path / "bad.jsonl").write_text(json.dumps({"text": TEXTS[0]}) + f"\n{line}\n{line}")
    status, stdout, stderr = run("lambada.py", "--model_size=demo", "bad.jsonl")
    assert (status, stdout) == (2, "")
    assert stderr == 'lambada.py: bad.jsonl, line 2: it is no {"text": ...} of several words\n'


# paper_table.py


def test_the_table_has_both_figures(run, encoder, reference, lambada_path, tmp_path):
    rows = [" \n", " = A king = \n", " \n", " The king was @-@ old . \n", " \n"]
    (tmp_path / "wiki.test.raw").write_text("".join(rows), encoding="utf-8", newline="\n")
    status, stdout, stderr = run("paper_table.py", "--model_size=demo", tmp_path)
    assert (status, stderr) == (0, "")
    head, *lines = stdout.splitlines()
    assert head.split() == ["here", *MODEL_SIZES]
    table = {line[:24].strip(): [float(number) for number in line[24:].split()] for line in lines}
    assert {name: row[1:] for name, row in table.items()} == {
        "LAMBADA, perplexity": [35.13, 15.6, 10.87, 8.63],
        "LAMBADA, accuracy in %": [45.99, 55.48, 60.12, 63.24],
        "WikiText-2, perplexity": [29.41, 22.76, 19.93, 18.34],
    }
    joined = "\n\n".join(["", " = A king = \n", "", " The king was @-@ old . \n", ""])
    ids = encoder.encode(joined)
    perplexity = math.exp(reference_surprise(reference, ids, 256, 256) / (len(ids) - 1))
    last_token, accuracy = reference_lambada(encoder, reference)["last token"]
    found = [row[0] for row in table.values()]
    assert found == pytest.approx([last_token, 100 * accuracy, perplexity], rel=1e-4, abs=0.006)


def test_a_text_of_one_token_is_refused(run, tmp_path):
    (tmp_path / "wiki.test.raw").write_text("a")
    status, stdout, stderr = run("paper_table.py", "--model_size=demo", tmp_path)
    assert (status, stdout, stderr) == (2, "", "paper_table.py: there is no text to score\n")


def test_a_folder_without_data_is_refused(run, tmp_path):
    status, stdout, stderr = run("paper_table.py", "--model_size=demo", tmp_path)
    assert (status, stdout) == (2, "")
    assert stderr.count("\n") == 1
