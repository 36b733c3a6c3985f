"""Measure the variety of the demo model's text.

    python -m models.make_demo.measure_text

The figures are for the model card.
"""

import re
from pathlib import Path

import numpy as np
from tokenizers import ByteLevelBPETokenizer

from cli.exit_status import run
from models.make_demo.grammar import read_genre
from models.make_demo.make_text import GENRE_SHARES, TRAINING, read_documents, read_held_out

N_WINDOW = 40
FACTORS = np.random.default_rng(0).integers(2**63, size=N_WINDOW, dtype=np.uint64) | np.uint64(1)


def window_hashes(ids):
    """Hash each window of 40 tokens to 64 bits. ids [n_seq] -> [n_seq - 39], or none."""
    if len(ids) < N_WINDOW:
        return np.empty(0, np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(np.array(ids, np.uint64), N_WINDOW)  # [n_seq - 39, 40]
    return windows @ FACTORS


def seen_share(held_out, train):
    """Return the share of held-out windows that the training text has. Both are lists of lists of ids."""
    seen = np.concatenate([window_hashes(ids) for ids in train])
    hashes = np.concatenate([window_hashes(ids) for ids in held_out])
    return np.mean(np.isin(hashes, seen))


def count_patterns(rules):
    """Count the alternatives that have a sentence."""
    return sum(bool(re.search(r"[.!?]", text)) for texts in rules.values() for text in texts)


def main(folder: str = None):
    """Print the variety of the text.

    Args:
        folder: has the text and the tokenizer. The default is models/demo_training.
    """
    folder = Path(folder or TRAINING)
    texts = read_documents(folder / "train.txt")
    tokenizer = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))

    def encode_all(texts):
        return [encoding.ids for encoding in tokenizer.encode_batch(texts)]

    train = encode_all(texts)
    held_out = encode_all([document["text"] for document in read_held_out(folder / "held_out.jsonl")])
    lengths = np.array([len(ids) + 1 for ids in train + held_out])  # 1: the end of text
    words = {word.lower() for text in texts for word in re.findall("[A-Za-z]+", text)}
    print(f"sentence patterns: {sum(count_patterns(read_genre(genre)[0]) for genre in GENRE_SHARES):,}")
    print(f"distinct words: {len(words):,}")
    print(f"training text: {len(train):,} documents, {lengths[: len(train)].sum():,} tokens")
    print(f"held-out text: {len(held_out):,} documents, {lengths[len(train) :].sum():,} tokens")
    print(f"tokens of a document: {lengths.min()} to {lengths.max()}, median {np.median(lengths):.0f}")
    print(f"held-out windows of {N_WINDOW} tokens seen in training: {seen_share(held_out, train):.3%}")


if __name__ == "__main__":
    run(main)
