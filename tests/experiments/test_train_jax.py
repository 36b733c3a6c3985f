"""train_jax.py: gradients equal finite differences, training works, and bad arguments are errors."""

import os
import re
import shlex

import jax
import numpy as np
import pytest
import train_jax
from helpers.new_model import init_params
from helpers.training_report import held_out_loss
from support.paths import EXPERIMENTS

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
    params = init_params(rng, n_vocab=11, n_ctx=5, n_embd=8, n_layer=1)
    return jax.tree.map(lambda array: array + 0.3 * rng.standard_normal(array.shape), params)


def loss_by_loops(params, ids, is_answer, n_head=N_HEAD):
    """The mean loss by definition, with NumPy, in the dtype of the parameters."""
    losses = []
    for text, mask in zip(ids, is_answer, strict=True):
        log_probs = log_softmax(gpt2.gpt2(text[:-1], **params, n_head=n_head))
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


def test_held_out_loss_is_the_mean_over_all_answer_tokens():
    params = random_params(np.random.default_rng(1))
    ids = np.random.default_rng(2).integers(11, size=(70, 6))
    is_answer = np.random.default_rng(3).random((70, 5)) < np.linspace(0.2, 1, 70)[:, None]
    loss = held_out_loss(train_jax.mean_loss, params, N_HEAD, (ids, is_answer), check_interrupt=lambda: None)
    assert loss == pytest.approx(loss_by_loops(params, ids, is_answer), rel=1e-5)


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


@pytest.mark.parametrize("encoder_flags", [[], ["--encoder=demo"]])
def test_text_is_learned_and_continued(encoder_flags, run_experiment, run, tmp_path):
    story = (EXPERIMENTS / "data" / "stories.txt").read_text(encoding="utf-8")
    (tmp_path / "input.txt").write_text(story, encoding="utf-8")
    flags = ["--file=input.txt", "--n_ctx=32", "--size=gpt-nano", "--n_steps=20", *encoder_flags]
    status, stdout, stderr = run_experiment("train_jax.py", "text", *flags)
    assert (status, stderr) == (0, "")
    encoder, hparams, params = load_encoder_hparams_and_params(str(tmp_path / "text"))
    n_tokens = len(encoder.encode(story.removesuffix("\n")))
    n_windows = (n_tokens // 10 - 1) // 32
    assert f"{n_tokens - n_tokens // 10} tokens for training, {32 * n_windows} held out\n" in stdout
    n_params = sum(tree[name].size for tree, name, _ in find_arrays(params))
    assert f"\n{n_params:,} parameters\n" in stdout
    assert (hparams["n_layer"], hparams["n_head"], hparams["n_embd"]) == (3, 3, 48)
    before, after = losses_of(stdout)
    assert before == pytest.approx(np.log(hparams["n_vocab"]), abs=0.2)

    held_out = encoder.encode(story.removesuffix("\n"))[-(n_tokens // 10) :]
    rows = np.array([held_out[32 * n : 32 * n + 33] for n in range(n_windows)])
    assert after < before - 0.1
    assert after == pytest.approx(loss_by_loops(params, rows, rows[:, 1:] >= 0, hparams["n_head"]), abs=1e-4)
    _, _, *flags = shlex.split(stdout.splitlines()[-1])
    status, stdout, stderr = run(*flags, "--n_tokens_to_generate=3", "--quiet")
    assert (status, stderr) == (0, "")


BAD_TEXTS = [
    ("", [], "input.txt is empty or has no words"),
    ("\n \n", [], "input.txt is empty or has no words"),
    ("word " * 60, ["--n_ctx=32"], "input.txt has 300 tokens: --n_ctx=32 needs at least 330 tokens"),
    ("word\udcff", [], "input.txt is not UTF-8: the byte at offset 4 is invalid"),
    (None, [], "cannot read input.txt: No such file or directory"),
]


@pytest.mark.parametrize(("text", "flags", "message"), BAD_TEXTS)
def test_bad_text_is_a_one_line_error(text, flags, message, run_experiment, tmp_path):
    if text is not None:
        (tmp_path / "input.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    names = os.listdir(tmp_path)
    result = run_experiment("train_jax.py", "text", "--file=input.txt", *flags)
    assert result == (2, "", f"train_jax.py: {message}\n")
    assert os.listdir(tmp_path) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "sort", "n_embd": 30}, "n_embd must be a multiple of n_head"),
        ({"task": "sort", "n_head": 0}, "n_head must be 1 or more, not 0"),
        (
            {"task": "sort", "size": "gpt-huge"},
            "unknown size 'gpt-huge': choose one of gpt-nano, gpt-micro, ",
        ),
        ({"task": "sort", "n_steps": 0}, "n_steps 1 or more"),
        ({"task": "sort", "learning_rate": -1.0}, "learning_rate must be more than 0"),
        ({"task": "sort", "n_digits": 2}, "the task sort does not use --n_digits"),
        ({"task": "add", "n_digits": 4}, "n_digits must be from 1 to 3, not 4"),
        ({"task": "text"}, "the task text needs a file to learn from: --file=input.txt"),
        ({"task": "text", "file": "there", "n_ctx": 0}, "n_ctx must be 1 or more, not 0"),
        ({"task": "sort", "out": "124M"}, "124M is the name of another model"),
        ({"task": "sort", "state": "not/state.npz"}, "cannot write state.npz: there is no folder not"),
        ({"task": "sort", "out": "there"}, "there already exists"),
        ({"task": "sort", "out": "not/there"}, "cannot create there: there is no folder not"),
    ],
)
def test_bad_argument_is_an_error_before_training(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        train_jax.main(**arguments)
    assert "loss" not in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("n_steps", [1, 20])  # the loss before the last step is finite, or not
def test_diverging_training_is_an_error_and_saves_no_model(n_steps, run_experiment, tmp_path):
    flags = [*TINY[1:], f"--n_steps={n_steps}", "--learning_rate=1e20"]
    status, stdout, stderr = run_experiment("train_jax.py", "names", *flags)
    message = "the model does not compute finite numbers: "
    assert (status, "loss:" in stdout) == (1, False)
    assert stderr.startswith(f"train_jax.py: {message}")
    assert stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_unknown_task_is_a_one_line_error(run_experiment, tmp_path):
    status, stdout, stderr = run_experiment("train_jax.py", "multiply")
    assert (status, stdout) == (2, "")
    assert stderr == "train_jax.py: unknown task 'multiply': choose one of sort, add, names, text\n"
    assert os.listdir(tmp_path) == []
