"""What a small GPT-2 can learn in a minute: lines of text, with a question, or without, and its answer."""

from pathlib import Path

import numpy as np

NAMES = Path(__file__).with_name("data") / "names.txt"


def sort(rng):
    """Six digits, and the same ones in order: yield "302120=001223" and others, no question twice."""
    for number in rng.choice(10**6, 50_000, replace=False):  # a twentieth of all
        digits = f"{number:06}"
        yield f"{digits}={''.join(sorted(digits))}"


def add(rng):
    """Two numbers and their sum, the last digit first, as one adds on paper: yield "12+34=640" and so on.

    So each digit of the sum depends on two others and a carry. No question comes twice.
    """
    for number in rng.permutation(100**2):
        a, b = divmod(number, 100)
        backwards = f"{a + b:03}"[::-1]
        yield f"{a:02}+{b:02}={backwards}"


def names(rng):
    """Given names, in any order: yield "ada" and others, none twice."""
    yield from rng.permutation(sorted(set(NAMES.read_text(encoding="utf-8").split()))).tolist()


TASKS = {"sort": sort, "add": add, "names": names}


def tokenize(lines, encoder):
    """Lines of text -> ids [n_lines, n_ctx + 1]; and is_answer [n_lines, n_ctx], for all ids but the first.

    The answer is what follows the =, and <|endoftext|>, which ends it. Where there is no question,
    <|endoftext|> stands for it, as in gpt2.py --unconditional. It also fills up the shorter lines.
    """
    end = [encoder.end_of_text]
    pairs = []
    for line in lines:
        question, equals, answer = line.rpartition("=")
        pairs.append((encoder.encode(question + equals) or end, encoder.encode(answer) + end))
    n_ctx = max(len(question) + len(answer) for question, answer in pairs) - 1
    ids = np.full((len(pairs), n_ctx + 1), encoder.end_of_text)
    is_answer = np.zeros((len(pairs), n_ctx), bool)
    for n, (question, answer) in enumerate(pairs):
        n_ids = len(question) + len(answer)
        ids[n, :n_ids] = question + answer
        is_answer[n, len(question) - 1 : n_ids - 1] = True
    return ids, is_answer
