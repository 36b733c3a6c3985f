"""Train the demo model's tokenizer on its text: byte-level BPE with 4,096 tokens, in OpenAI's two files.

    python -m models.make_demo.make_tokenizer

The ids follow OpenAI's order: 256 bytes, 3,839 merges, the end of text.
"""

import json
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer

from cli.exit_status import run
from encoder import END_OF_TEXT, bytes_to_unicode
from models.make_demo.make_text import TRAINING, read_documents

N_VOCAB = 4096


def train_merges(texts):
    """Texts -> the pairs of tokens to merge, the most frequent first: 3,839 strings such as "Ġ t"."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=N_VOCAB - 1, show_progress=True)
    merges = [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    if 256 + len(merges) + 1 < N_VOCAB:
        raise ValueError(f"the text has too few pairs of tokens for a vocabulary of {N_VOCAB:,}")
    return merges


def write_tokenizer(folder, merges):
    """Write encoder.json and vocab.bpe."""
    tokens = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges), END_OF_TEXT]
    ids = {token: index for index, token in enumerate(tokens)}
    for name, text in {
        "encoder.json": json.dumps(ids),
        "vocab.bpe": "\n".join(["#version: 0.2", *merges, ""]),
    }.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def main(folder: str = None):
    """Train the tokenizer on train.txt, and write encoder.json and vocab.bpe.

    Args:
        folder: has train.txt and gets the two files. The default is models/demo_training.
    """
    folder = Path(folder or TRAINING)
    write_tokenizer(folder, train_merges(read_documents(folder / "train.txt")))


if __name__ == "__main__":
    run(main)
