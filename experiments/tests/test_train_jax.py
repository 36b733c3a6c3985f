import os
import re
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tasks
import train_jax
from conftest import EXPERIMENTS
from save_model import byte_encoder

import gpt2
from layout import find_arrays
from sampling import log_softmax
from utils import load_encoder_hparams_and_params

N_HEAD = 2
TINY = ("--n_steps=30", "--n_layer=1", "--n_embd=16")


def losses_of(stdout):
    """The loss before training and after it."""
    return [float(loss) for loss in re.search(r"others: ([\d.]+), after \d+ steps ([\d.]+)", stdout).groups()]


def random_params(rng):
    """A model in which every array, the biases too, matters to the loss; float64."""
    params = train_jax.init_params(rng, n_vocab=11, n_ctx=5, n_embd=8, n_layer=1)
    return jax.tree.map(lambda array: array + 0.3 * rng.standard_normal(array.shape), params)


def loss_by_loops(params, ids, is_answer):
    """NumPy's forward pass, in the type of the parameters, and the definition of the loss."""
    losses = []
    for text, counts in zip(ids, is_answer, strict=True):
        log_probs = log_softmax(gpt2.gpt2(text[:-1], **params, n_head=N_HEAD))
        losses += [-log_probs[n, text[n + 1]] for n in range(len(counts)) if counts[n]]
    return np.mean(losses)


def test_gradients_are_those_of_finite_differences():
    rng = np.random.default_rng(0)
    params = random_params(rng)
    ids = rng.integers(11, size=(3, 6))
    is_answer = rng.random((3, 5)) < 0.6
    single = jax.tree.map(np.float32, params)
    with train_jax.under_jax():
        loss_and_gradients = jax.jit(jax.value_and_grad(train_jax.mean_loss), static_argnums=1)
        loss, gradients = loss_and_gradients(single, N_HEAD, ids, is_answer)
    assert loss == pytest.approx(loss_by_loops(params, ids, is_answer), rel=1e-5)

    places, n_checked = list(find_arrays(params)), 0
    derivatives = [tree[name] for tree, name, _ in find_arrays(jax.tree.map(np.array, gradients))]
    assert len(places) == len(derivatives) == 2 + 12 + 2
    largest = max(float(np.abs(derivative).max()) for derivative in derivatives)
    for (tree, name, _), derivative in zip(places, derivatives, strict=True):
        array = tree[name]
        assert derivative.shape == array.shape
        for n in rng.choice(array.size, min(4, array.size), replace=False):
            where = np.unravel_index(n, array.shape)
            value, by_side = array[where], []
            for array[where] in (value + 1e-5, value - 1e-5):
                by_side.append(loss_by_loops(params, ids, is_answer))
            array[where] = value
            difference = (by_side[0] - by_side[1]) / 2e-5
            assert derivative[where] == pytest.approx(difference, rel=1e-3, abs=1e-5 * largest)
            n_checked += difference != 0
    assert n_checked > 3 * len(places)


def test_jax_computes_the_logits_that_numpy_computes(demo):
    encoder, hparams, params = demo
    texts = ["Once upon a time there was a king", "The daughter of the old man went away"]
    ids = np.array([encoder.encode(text)[:7] for text in texts])
    expected = gpt2.gpt2(ids, **params, n_head=hparams["n_head"])
    with train_jax.under_jax():
        logits = jax.jit(gpt2.gpt2, static_argnames="n_head")(ids, **params, n_head=hparams["n_head"])
        assert isinstance(logits, jax.Array)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert train_jax.largest_difference(params, hparams["n_head"], ids) < 1e-5 * np.abs(expected).max()


def test_numpy_is_back_after_an_error():
    with pytest.raises(KeyError), train_jax.under_jax():
        assert gpt2.np is jax.numpy
        raise KeyError
    assert gpt2.np is np


def test_the_texts_are_what_they_should_be():
    lines = {task: list(function(np.random.default_rng(3))) for task, function in tasks.TASKS.items()}
    for line in lines["sort"][:500]:
        digits, answer = re.fullmatch(r"(\d{6})=(\d{6})", line).groups()
        assert list(answer) == sorted(digits)
    for line in lines["add"][:500]:
        a, b, answer = re.fullmatch(r"(\d\d)\+(\d\d)=(\d{3})", line).groups()
        assert int(answer[::-1]) == int(a) + int(b)
    assert sorted(lines["names"]) == tasks.NAMES.read_text(encoding="utf-8").splitlines()


def test_tokens_of_questions_answers_and_ends():
    encoder = byte_encoder()
    ids, is_answer = tasks.tokenize(["12+3=51", "ada"], encoder)
    texts = [encoder.decode(row).replace("<|endoftext|>", "|") for row in ids]
    assert texts == ["12+3=51|", "|ada||||"]
    answers = [encoder.decode(row[1:][counts]) for row, counts in zip(ids, is_answer, strict=True)]
    assert answers == ["51<|endoftext|>", "ada<|endoftext|>"]


@pytest.mark.parametrize("task", tasks.TASKS)
def test_what_it_is_tested_on_it_has_not_learnt(task):
    lines = list(tasks.TASKS[task](np.random.default_rng(0)))
    new, known = train_jax.hold_out(*tasks.tokenize(lines, byte_encoder()))

    def questions(ids, is_answer):
        """What comes before the answers; where nothing does, the answers."""
        starts = is_answer.argmax(axis=-1) + 1
        return [(row[:start] if start > 1 else row).tobytes() for row, start in zip(ids, starts, strict=True)]

    assert not set(questions(*new)) & set(questions(*known))
    assert len(set(questions(*new))) == (59 if task == "names" else 1000)
    assert len(set(questions(*known))) == len(known[0]) == {"sort": 49_000, "add": 9_000, "names": 534}[task]


def test_right_answers_are_those_that_greedy_decoding_gives():
    params = jax.tree.map(np.float32, random_params(np.random.default_rng(1)))
    ids = np.random.default_rng(2).integers(11, size=(40, 6))  # all as yet wrong, or nearly
    is_answer = np.zeros((40, 5), bool)
    is_answer[:, 2:] = True  # the last three ids
    answers = [list(gpt2.generate(row[:3], params, N_HEAD, 3)) for row in ids]
    ids[::4, 3:] = answers[::4]
    ids[1::4, 3:5] = [answer[:2] for answer in answers[1::4]]
    expected = sum(list(row[3:]) == answer for row, answer in zip(ids, answers, strict=True))
    assert 10 <= expected <= 20
    assert train_jax.count_right(params, N_HEAD, ids, is_answer) == expected


def test_it_learns_to_sort(run, tmp_path):
    status, stdout, stderr = run("train_jax.py", "sort", "--seed=1")
    assert (status, stderr) == (0, "")
    n_right, n_asked = map(int, re.search(r"right answers to the others: (\d+) of (\d+)", stdout).groups())
    assert n_asked == 1000
    assert n_right >= 990

    numbers = np.random.default_rng(2).integers(10**6, size=200)
    questions = [f"{number:06}" for number in numbers]
    (tmp_path / "questions").write_text("".join(f"{question}=\n" for question in questions), encoding="utf-8")
    status, stdout, stderr = run("../gpt2.py", "--model_size=sort", "--prompts_file=questions", "--quiet")
    answers = re.findall(r'"text": "(.*?)".*"finish_reason": "stop"', stdout)
    assert (status, stderr, len(answers)) == (0, "", 200)
    pairs = zip(questions, answers, strict=True)
    assert sum(answer == "".join(sorted(question)) for question, answer in pairs) >= 196


@pytest.mark.parametrize("task", ["add", "names"])  # sort is above
def test_a_little_training_helps_and_is_saved(task, run, tmp_path):
    status, stdout, stderr = run("train_jax.py", task, *TINY, "--out=model")
    assert (status, stderr) == (0, "")
    before, after = losses_of(stdout)
    assert before == pytest.approx(np.log(257), abs=0.2)  # it knows nothing
    assert after < before - 0.2
    assert os.listdir(tmp_path) == ["model"]
    _, _, *flags = shlex.split(stdout.splitlines()[-1])  # python gpt2.py --model_size=model "12+34="
    flags = [flag for flag in flags if "temperature" not in flag]
    prompt = "" if task == "names" else flags[-1]

    encoder, hparams, params = load_encoder_hparams_and_params(str(tmp_path / "model"))
    ids = encoder.encode(prompt) or [encoder.end_of_text]
    model = (params, hparams["n_head"], 4, encoder.end_of_text)
    expected = encoder.decode(list(gpt2.generate(ids, *model)))
    done = run("../gpt2.py", *flags, "--quiet", "--n_tokens_to_generate=4")
    assert done == (0, expected + "\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "sort", "n_embd": 30}, "n_embd must be a multiple of n_head"),
        ({"task": "sort", "n_steps": 0}, "n_steps 1 or more"),
        ({"task": "sort", "out": "there"}, "there is there already"),
        ({"task": "sort", "out": "not/there"}, "there is no folder not to make there in"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train_jax.main(**arguments)
    assert capsys.readouterr().out == ""  # it has not begun
    assert os.listdir(tmp_path) == ["there"]


def test_an_unknown_task(run, tmp_path):
    status, stdout, stderr = run("train_jax.py", "multiply")
    assert (status, stdout) == (2, "")
    assert stderr == "train_jax.py: there is no task 'multiply': give one of sort, add, names\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent there")
def test_after_ctrl_c_nothing_is_left(tmp_path):
    command = [sys.executable, "-u", EXPERIMENTS / "train_jax.py", "sort", "--n_steps=100000"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, encoding="utf-8", **streams) as process:
        assert "texts to learn from" in process.stdout.readline()
        assert len(os.listdir(tmp_path)) == 1
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "")
    assert os.listdir(tmp_path) == []
