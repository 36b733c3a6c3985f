"""helpers/training_tasks.py: the texts, and their tokens."""

import re

import numpy as np
import pytest
from helpers.hub_folder import byte_encoder
from helpers.training_tasks import NAMES, TASKS, tokenize


def test_sort_answers_are_sorted():
    lines = list(TASKS["sort"](np.random.default_rng(3)))
    for line in lines[:500]:
        digits, answer = re.fullmatch(r"(\d{6})=(\d{6})", line).groups()
        assert list(answer) == sorted(digits)


def test_add_answers_are_reversed_sums():
    lines = list(TASKS["add"](np.random.default_rng(3)))
    for line in lines[:500]:
        a, b, answer = re.fullmatch(r"(\d\d)\+(\d\d)=(\d{3})", line).groups()
        assert int(answer[::-1]) == int(a) + int(b)


def test_names_are_those_of_the_file():
    lines = list(TASKS["names"](np.random.default_rng(3)))
    assert sorted(lines) == NAMES.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(("task", "n_lines"), [("sort", 50_000), ("add", 10_000), ("names", 593)])
def test_lines_do_not_repeat(task, n_lines):
    lines = list(TASKS[task](np.random.default_rng(0)))
    assert len(set(lines)) == len(lines) == n_lines


def test_tokens_of_questions_answers_and_padding():
    encoder = byte_encoder()
    ids, is_answer = tokenize(["12+3=51", "ada"], encoder)
    texts = [encoder.decode(row).replace("<|endoftext|>", "|") for row in ids]
    assert texts == ["12+3=51|", "|ada||||"]
    answers = [encoder.decode(row[1:][mask]) for row, mask in zip(ids, is_answer, strict=True)]
    assert answers == ["51<|endoftext|>", "ada<|endoftext|>"]
