"""Tasks that a small GPT-2 learns within a minute: lines of text, each with an answer."""

from pathlib import Path

import numpy as np

NAMES = Path(__file__).resolve().parents[1] / "data" / "names.txt"


def sort(rng):
    """Sort six digits: yield "302120=001223" and so on. No question repeats."""
    for number in rng.choice(10**6, 50_000, replace=False):  # 5 % of all questions
        digits = f"{number:06}"
        yield f"{digits}={''.join(sorted(digits))}"


def add(rng):
    """Add two numbers: yield "12+34=640" and so on. No question repeats.

    The sum starts with its last digit. So each digit depends only on two digits and a carry.
    """
    for number in rng.permutation(100**2):
        a, b = divmod(number, 100)
        reversed_sum = f"{a + b:03}"[::-1]
        yield f"{a:02}+{b:02}={reversed_sum}"


def names(rng):
    """Given names in random order: yield "ada" and so on. No name repeats."""
    yield from rng.permutation(sorted(set(NAMES.read_text(encoding="utf-8").split()))).tolist()


TASKS = {"sort": sort, "add": add, "names": names}


def tokenize(lines, encoder):
    """Encode lines of text. Returns ids [n_lines, n_ctx + 1] and is_answer [n_lines, n_ctx], for ids[:, 1:].

    The answer is the text after "=", and the <|endoftext|> that ends it. A line without a question starts
    with <|endoftext|>, like `gpt2.py --unconditional`. Shorter lines are padded with <|endoftext|>.
    """
    end = [encoder.end_of_text]
    pairs = []
    for line in lines:
        question, equals, answer = line.rpartition("=")
        pairs.append((encoder.encode(question + equals) or end, encoder.encode(answer) + end))
    n_ctx = max(len(question) + len(answer) for question, answer in pairs) - 1
    ids = np.full((len(pairs), n_ctx + 1), encoder.end_of_text)
    is_answer = np.zeros((len(pairs), n_ctx), bool)
    for row, (question, answer) in enumerate(pairs):
        n_ids = len(question) + len(answer)
        ids[row, :n_ids] = question + answer
        is_answer[row, len(question) - 1 : n_ids - 1] = True
    return ids, is_answer
