"""The tasks of train_jax.py: sort digits, add numbers, invent names, or continue a text.

Each task is a list of texts with answers. The training and the held-out texts become two arrays:
ids [n_texts, n_ctx + 1], and is_answer [n_texts, n_ctx], which marks the answers in ids[:, 1:].
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.prompts import read_text
from encoder import END_OF_TEXT, Encoder
from helpers.hub_folder import byte_encoder
from helpers.mingpt_tokens import find_folder
from loading.tokenizer_files import find_and_load_encoder

NAMES = Path(__file__).resolve().parents[1] / "data" / "names.txt"
MAX_QUESTIONS = 50_000
MAX_HELD_OUT = 1000


class Task(NamedTuple):
    """What a model learns, a prompt that shows it, and the default number of steps."""

    summary: str
    texts: list
    encoder: Encoder
    training: tuple  # ids [n_texts, n_ctx + 1], is_answer [n_texts, n_ctx]
    held_out: tuple  # likewise
    prompt: str
    n_steps: int


def sort(rng):
    """Sort six digits: yield "302120=001223" and so on. No question repeats."""
    for number in rng.choice(10**6, MAX_QUESTIONS, replace=False):  # 5 % of all questions
        digits = f"{number:06}"
        yield f"{digits}={''.join(sorted(digits))}"


def add(rng, n_digits=2):
    """Add two numbers: yield "12+34=640" and so on. No question repeats.

    The sum starts with its last digit. So each digit depends only on two digits and a carry.
    Three digits make a million questions: 5 % of them are enough.
    """
    if not 1 <= n_digits <= 3:
        raise ValueError(f"n_digits must be from 1 to 3, not {n_digits}")
    for number in rng.permutation(100**n_digits)[:MAX_QUESTIONS]:
        a, b = divmod(number, 10**n_digits)
        reversed_sum = f"{a + b:0{n_digits + 1}}"[::-1]
        yield f"{a:0{n_digits}}+{b:0{n_digits}}={reversed_sum}"


def names(rng):
    """Given names in random order: yield "ada" and so on. No name repeats."""
    yield from rng.permutation(sorted(set(NAMES.read_text(encoding="utf-8").split()))).tolist()


LINES = {"sort": sort, "add": add, "names": names}
N_STEPS = {"sort": 500, "add": 1500, "names": 300, "text": 1000}  # names are few: more steps overfit
N_STEPS_3_DIGITS = 5000
OPTIONS = {"sort": (), "add": ("n_digits",), "names": (), "text": ("file", "encoder", "n_ctx")}


def load_task(name, rng, **options):
    """Create the texts of a task -> Task.

    Args:
        options: the flags of the task, see OPTIONS. Those that are None have their defaults.

    Raises:
        ValueError: the task is unknown, an option is invalid or belongs to another task, or the text is
            unreadable or too short.
    """
    if name not in OPTIONS:
        raise ValueError(f"unknown task {name!r}: choose one of {', '.join(OPTIONS)}")
    options = {option: value for option, value in options.items() if value is not None}
    for option in options:
        if option not in OPTIONS[name]:
            raise ValueError(f"the task {name} does not use --{option}")
    if name == "text":
        return load_text(**options)
    n_steps = N_STEPS_3_DIGITS if options.get("n_digits") == 3 else N_STEPS[name]
    return load_lines(LINES[name](rng, **options), n_steps)


def load_lines(lines, n_steps):
    """Tokenize lines in random order, and hold out a tenth of them -> Task."""
    texts, encoder = list(lines), byte_encoder()
    held_out, training = hold_out(*tokenize(texts, encoder))
    summary = f"{len(training[0])} texts for training, {len(held_out[0])} held out, such as {texts[0]}"
    question, equals, _ = texts[0].rpartition("=")
    return Task(summary, texts, encoder, training, held_out, question + equals, n_steps)


def load_text(file=None, encoder=None, n_ctx=64):
    """Read a text file, and hold out its last tenth -> Task. The training texts are all windows of the rest.

    Args:
        encoder: the model or folder whose tokenizer to use; None: the tokens are bytes.
    """
    if file is None:
        raise ValueError("the task text needs a file to learn from: --file=input.txt")
    if n_ctx < 1:
        raise ValueError(f"n_ctx must be 1 or more, not {n_ctx}")
    text = read_text(file)
    words = re.search(r"\w[\w ]{0,20}", text)
    if words is None:
        raise ValueError(f"{file} is empty or has no words")
    tokenizer = byte_encoder() if encoder is None else load_encoder(encoder)
    ids = np.array(encode_documents(tokenizer, text))  # [n_tokens]
    n_held_out = len(ids) // 10
    if n_held_out <= n_ctx:
        raise ValueError(
            f"{file} has {len(ids)} tokens: --n_ctx={n_ctx} needs at least {10 * (n_ctx + 1)} tokens"
        )
    training = windows(ids[:-n_held_out], n_ctx, stride=1)
    held_out = windows(ids[-n_held_out:], n_ctx, stride=n_ctx)  # each token is predicted once
    held_out = tuple(array[:MAX_HELD_OUT] for array in held_out)
    summary = f"{len(ids) - n_held_out} tokens for training, {held_out[1].size} held out"
    return Task(summary, [text], tokenizer, training, held_out, words[0].strip(), N_STEPS["text"])


def load_encoder(name):
    """Load the tokenizer of a model or folder. Raises ValueError if its special tokens are not GPT-2's."""
    encoder = find_and_load_encoder(find_folder(name))
    if encoder.add_prefix_space or encoder.end_of_text is None:
        raise ValueError(
            f"{name} adds a space before a text, or has no {END_OF_TEXT}: choose another --encoder"
        )
    return encoder


def encode_documents(encoder, text):
    """Encode a text -> ids. <|endoftext|> becomes one token, as in the prompts of a saved model."""
    ids = []
    for document in text.split(END_OF_TEXT):
        ids += [*encoder.encode(document), encoder.end_of_text]
    return ids[:-1]  # no token after the last document


def windows(ids, n_ctx, stride):
    """Cut ids [n_tokens] into windows -> ids [n_windows, n_ctx + 1] and is_answer, which is all True."""
    ids = np.lib.stride_tricks.sliding_window_view(ids, n_ctx + 1)[::stride]  # a view: it needs no memory
    return ids, np.broadcast_to(True, ids[:, 1:].shape)


def hold_out(ids, is_answer):
    """Split texts into held-out ones, a tenth but at most 1,000, and training texts: two (ids, is_answer)."""
    n_held_out = min(MAX_HELD_OUT, len(ids) // 10)
    return (ids[:n_held_out], is_answer[:n_held_out]), (ids[n_held_out:], is_answer[n_held_out:])


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
