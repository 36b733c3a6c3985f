"""Train the demo model's tokenizer on its text: byte-level BPE with 4,096 tokens, in OpenAI's two files.

    python -m models.make_demo.make_tokenizer

The ids follow OpenAI's order: 256 bytes, 3,839 merges, the end of text.
"""

import argparse
import json
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer

from encoder import END_OF_TEXT, bytes_to_unicode
from models.make_demo.make_text import TRAINING, read_documents

N_VOCAB = 4096


def train_merges(texts):
    """Texts -> the pairs of tokens to merge, the most frequent first: 3,839 strings such as "Ġ t"."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=N_VOCAB - 1, show_progress=True)
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def write_tokenizer(folder, merges):
    """Write encoder.json and vocab.bpe."""
    tokens = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges), END_OF_TEXT]
    ids = {token: index for index, token in enumerate(tokens)}
    (folder / "encoder.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=TRAINING, help="has train.txt, gets the two files")
    folder = parser.parse_args().folder
    merges = train_merges(read_documents(folder / "train.txt"))
    write_tokenizer(folder, merges)
    print(f"{folder}: {256 + len(merges) + 1:,} tokens")


if __name__ == "__main__":
    main()
