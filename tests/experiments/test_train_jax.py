"""train_jax.py: gradients equal finite differences, training works, and Ctrl-C leaves nothing behind."""

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
import train_jax
from helpers.hub_folder import byte_encoder
from helpers.training_tasks import TASKS, tokenize
from support.paths import EXPERIMENTS, posix

import gpt2
from generation.scoring import log_softmax
from loading.weight_order import find_arrays
from utils import load_encoder_hparams_and_params

N_HEAD = 2
TINY = ("--n_steps=30", "--n_layer=1", "--n_embd=16")


def losses_of(stdout):
    """The held-out loss before and after training."""
    return [float(loss) for loss in re.search(r"loss: ([\d.]+) before, ([\d.]+) after", stdout).groups()]


def random_params(rng):
    """A model in which every array influences the loss, even the biases; float64."""
    params = train_jax.init_params(rng, n_vocab=11, n_ctx=5, n_embd=8, n_layer=1)
    return jax.tree.map(lambda array: array + 0.3 * rng.standard_normal(array.shape), params)


def loss_by_loops(params, ids, is_answer):
    """The mean loss by definition, with NumPy, in the dtype of the parameters."""
    losses = []
    for text, mask in zip(ids, is_answer, strict=True):
        log_probs = log_softmax(gpt2.gpt2(text[:-1], **params, n_head=N_HEAD))
        losses += [-log_probs[n, text[n + 1]] for n in range(len(mask)) if mask[n]]
    return np.mean(losses)


def test_gradients_equal_finite_differences():
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
            value, losses = array[where], []
            for array[where] in (value + 1e-5, value - 1e-5):
                losses.append(loss_by_loops(params, ids, is_answer))
            array[where] = value
            difference = (losses[0] - losses[1]) / 2e-5
            assert derivative[where] == pytest.approx(difference, rel=1e-3, abs=1e-5 * largest)
            n_checked += difference != 0
    assert n_checked > 3 * len(places)


def test_jax_logits_equal_numpy_logits(demo):
    encoder, hparams, params = demo
    texts = ["Once upon a time there was a king", "The daughter of the old man went away"]
    ids = np.array([encoder.encode(text)[:7] for text in texts])
    expected = gpt2.gpt2(ids, **params, n_head=hparams["n_head"])
    with train_jax.under_jax():
        logits = jax.jit(gpt2.gpt2, static_argnames="n_head")(ids, **params, n_head=hparams["n_head"])
        assert isinstance(logits, jax.Array)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    assert train_jax.max_difference(params, hparams["n_head"], ids) < 1e-5 * np.abs(expected).max()


def test_under_jax_restores_numpy_after_an_error():
    with pytest.raises(KeyError), train_jax.under_jax():
        assert gpt2.np is jax.numpy
        raise KeyError
    assert gpt2.np is np


@pytest.mark.parametrize("task", TASKS)
def test_held_out_questions_are_not_in_the_training_set(task):
    lines = list(TASKS[task](np.random.default_rng(0)))
    held_out, training = train_jax.hold_out(*tokenize(lines, byte_encoder()))

    def questions(ids, is_answer):
        """The ids before the answer; without a question, the whole text."""
        starts = is_answer.argmax(axis=-1) + 1
        return [(row[:start] if start > 1 else row).tobytes() for row, start in zip(ids, starts, strict=True)]

    assert not set(questions(*held_out)) & set(questions(*training))
    assert len(set(questions(*held_out))) == (59 if task == "names" else 1000)
    n_training = {"sort": 49_000, "add": 9_000, "names": 534}[task]
    assert len(set(questions(*training))) == len(training[0]) == n_training


def test_correct_answers_equal_greedy_decoding():
    params = jax.tree.map(np.float32, random_params(np.random.default_rng(1)))
    ids = np.random.default_rng(2).integers(11, size=(40, 6))  # random answers: nearly all are wrong
    is_answer = np.zeros((40, 5), bool)
    is_answer[:, 2:] = True  # the last three ids
    answers = [list(gpt2.generate(row[:3], params, N_HEAD, 3)) for row in ids]
    ids[::4, 3:] = answers[::4]
    ids[1::4, 3:5] = [answer[:2] for answer in answers[1::4]]
    expected = sum(list(row[3:]) == answer for row, answer in zip(ids, answers, strict=True))
    assert 10 <= expected <= 20
    assert train_jax.count_correct(params, N_HEAD, ids, is_answer) == expected


def test_training_learns_to_sort(run_experiment, run, tmp_path):
    status, stdout, stderr = run_experiment("train_jax.py", "sort", "--seed=1")
    assert (status, stderr) == (0, "")
    n_correct, n_questions = map(int, re.search(r"correct answers: (\d+) of (\d+)", stdout).groups())
    assert n_questions == 1000
    assert n_correct >= 990

    numbers = np.random.default_rng(2).integers(10**6, size=200)
    questions = [f"{number:06}" for number in numbers]
    (tmp_path / "questions").write_text("".join(f"{question}=\n" for question in questions), encoding="utf-8")
    status, stdout, stderr = run("--model_size=sort", "--prompts_file=questions", "--quiet")
    answers = re.findall(r'"text": "(.*?)".*"finish_reason": "stop"', stdout)
    assert (status, stderr, len(answers)) == (0, "", 200)
    pairs = zip(questions, answers, strict=True)
    assert sum(answer == "".join(sorted(question)) for question, answer in pairs) >= 196


@pytest.mark.parametrize("task", ["add", "names"])  # the test above covers sort
def test_short_training_reduces_the_loss_and_saves_the_model(task, run_experiment, run, tmp_path):
    status, stdout, stderr = run_experiment("train_jax.py", task, *TINY, "--out=model")
    assert (status, stderr) == (0, "")
    before, after = losses_of(stdout)
    assert before == pytest.approx(np.log(257), abs=0.2)  # a uniform distribution
    assert after < before - 0.2
    assert os.listdir(tmp_path) == ["model"]
    _, _, *flags = shlex.split(stdout.splitlines()[-1])  # python gpt2.py --model_size=model "12+34="
    flags = [flag for flag in flags if "temperature" not in flag]
    prompt = "" if task == "names" else flags[-1]

    encoder, hparams, params = load_encoder_hparams_and_params(str(tmp_path / "model"))
    ids = encoder.encode(prompt) or [encoder.end_of_text]
    model = (params, hparams["n_head"], 4, encoder.end_of_text)
    expected = encoder.decode(list(gpt2.generate(ids, *model)))
    done = run(*flags, "--quiet", "--n_tokens_to_generate=4")
    assert done == (0, expected + "\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "sort", "n_embd": 30}, "n_embd must be a multiple of n_head"),
        ({"task": "sort", "n_steps": 0}, "n_steps 1 or more"),
        ({"task": "sort", "out": "there"}, "there already exists"),
        ({"task": "sort", "out": "not/there"}, "cannot create there: there is no folder not"),
    ],
)
def test_bad_argument_is_an_error_before_training(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train_jax.main(**arguments)
    assert capsys.readouterr().out == ""
    assert os.listdir(tmp_path) == ["there"]


def test_unknown_task_is_a_one_line_error(run_experiment, tmp_path):
    status, stdout, stderr = run_experiment("train_jax.py", "multiply")
    assert (status, stdout) == (2, "")
    assert stderr == "train_jax.py: unknown task 'multiply': choose one of sort, add, names\n"
    assert os.listdir(tmp_path) == []


# Ctrl-C.


@posix
@pytest.mark.parametrize("seconds", [0, 0.7, 3])  # before, during and after the compilation
def test_ctrl_c_leaves_nothing_behind(tmp_path, seconds):
    command = [sys.executable, "-u", EXPERIMENTS / "train_jax.py", "sort", "--n_steps=100000"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, encoding="utf-8", **streams) as process:
        assert "texts for training" in process.stdout.readline()
        assert len(os.listdir(tmp_path)) == 1
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "")
    assert os.listdir(tmp_path) == []
