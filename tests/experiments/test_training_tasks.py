"""helpers/training_tasks.py: the texts, and their tokens."""

import re

import numpy as np
import pytest
from helpers.hub_folder import byte_encoder
from helpers.training_tasks import LINES, NAMES, load_task, tokenize

OPTIONS = [
    ("sort", {}),
    ("add", {"n_digits": 1}),
    ("add", {"n_digits": 2}),
    ("add", {"n_digits": 3}),
    ("names", {}),
]


def test_sort_answers_are_sorted():
    lines = list(LINES["sort"](np.random.default_rng(3)))
    for line in lines[:500]:
        digits, answer = re.fullmatch(r"(\d{6})=(\d{6})", line).groups()
        assert list(answer) == sorted(digits)


@pytest.mark.parametrize("n_digits", [1, 2, 3])
def test_add_answers_are_reversed_sums(n_digits):
    lines = list(LINES["add"](np.random.default_rng(3), n_digits))
    for line in lines[:500]:
        a, b, answer = re.fullmatch(r"(\d+)\+(\d+)=(\d+)", line).groups()
        assert len(a) == len(b) == len(answer) - 1 == n_digits
        assert int(answer[::-1]) == int(a) + int(b)


def test_names_are_those_of_the_file():
    lines = list(LINES["names"](np.random.default_rng(3)))
    assert sorted(lines) == NAMES.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("task", "options"), OPTIONS)
def test_held_out_questions_are_not_in_the_training_set(task, options):
    data = load_task(task, np.random.default_rng(0), **options)

    def questions(ids, is_answer):
        """The ids before the answer; without a question, the whole text."""
        starts = is_answer.argmax(axis=-1) + 1
        return [(row[:start] if start > 1 else row).tobytes() for row, start in zip(ids, starts, strict=True)]

    training, held_out = questions(*data.training), questions(*data.held_out)
    assert len(set(training)) == len(training)
    assert len(set(held_out)) == len(held_out)
    assert not set(training) & set(held_out)
    expected = {"sort": (49_000, 1000), "names": (534, 59)}
    expected["add"] = {1: (90, 10), 2: (9000, 1000), 3: (49_000, 1000)}.get(options.get("n_digits"))
    assert (len(training), len(held_out)) == expected[task]


def test_training_windows_contain_no_held_out_token(tmp_path):
    """Each character of the text is different, so a token shows its place."""
    text = "".join(chr(33 + n) for n in range(90))
    (tmp_path / "input.txt").write_text(text, encoding="utf-8")
    data = load_task("text", np.random.default_rng(0), file=tmp_path / "input.txt", n_ctx=3)
    decode = data.encoder.decode
    assert [decode(row) for row in data.training[0]] == [text[n : n + 4] for n in range(78)]
    assert [decode(row) for row in data.held_out[0]] == [text[n : n + 4] for n in (81, 84)]
    assert data.training[1].shape == (78, 3)
    assert data.training[1].all()


def test_tokens_of_questions_answers_and_padding():
    encoder = byte_encoder()
    ids, is_answer = tokenize(["12+3=51", "ada"], encoder)
    texts = [encoder.decode(row).replace("<|endoftext|>", "|") for row in ids]
    assert texts == ["12+3=51|", "|ada||||"]
    answers = [encoder.decode(row[1:][mask]) for row, mask in zip(ids, is_answer, strict=True)]
    assert answers == ["51<|endoftext|>", "ada<|endoftext|>"]
