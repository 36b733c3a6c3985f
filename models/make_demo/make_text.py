"""Write the demo model's text: train.txt and held_out.jsonl. The same seed gives the same bytes.

    python -m models.make_demo.make_text
    python -m models.make_demo.make_text --genre=letters      print ten letters, with recall cases in {braces}

Worlds are held out, not documents: one world in 50, picked by a checksum of its words, never appears in the
training text. held_out.jsonl keeps the genre and the recall cases of each document for evaluate.py.
"""

import argparse
import hashlib
import json
import random
import re
import zlib
from pathlib import Path

from tqdm import tqdm

from models.make_demo.grammar import expand_document, read_genre

TRAINING = Path(__file__).parents[1] / "demo_training"  # git ignores it
END_OF_TEXT = "<|endoftext|>"
GENRES = {  # genre: share of the documents
    "stories_fairy": 0.17,
    "stories_lost": 0.21,
    "stories_daily": 0.17,
    "letters": 0.14,
    "descriptions": 0.11,
    "science_notes": 0.08,
    "explanations": 0.07,
    "dialogues": 0.05,
}
N_DOCUMENTS, SEED = 120_000, 1
MAX_LENGTH = 195  # words and punctuation marks, which keeps documents below 250 tokens
MIN_LENGTH = 30


def length(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


def documents(n_documents, seed, genres=GENRES):
    """Yield (genre, document) n_documents times. Longer and shorter documents are skipped."""
    rng = random.Random(seed)
    grammars = {genre: read_genre(genre) for genre in genres}
    shares = list(genres.values())
    for genre in rng.choices(list(genres), shares, k=n_documents):
        document = expand_document(*grammars[genre], rng)
        while not MIN_LENGTH <= length(document.text) <= MAX_LENGTH:
            document = expand_document(*grammars[genre], rng)
        yield genre, document


def is_held_out(world):
    """Decide by a checksum of the world's words. A world of fewer than three words is never held out."""
    return len(world) >= 3 and zlib.crc32(" ".join(sorted(world.values())).encode()) % 50 == 0


def write_text(folder, n_documents, seed):
    """Write train.txt and held_out.jsonl. Return their SHA-256 checksums by name."""
    folder.mkdir(parents=True, exist_ok=True)
    train_path, held_out_path = folder / "train.txt", folder / "held_out.jsonl"
    with (
        train_path.open("w", encoding="utf-8", newline="\n") as train,
        held_out_path.open("w", encoding="utf-8", newline="\n") as held_out,
    ):
        for genre, document in tqdm(documents(n_documents, seed), total=n_documents, desc="text"):
            if is_held_out(document.world):
                held_out.write(
                    json.dumps({"genre": genre, "text": document.text, "cases": document.cases}) + "\n"
                )
            else:
                train.write(document.text + END_OF_TEXT + "\n")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (train_path, held_out_path)}


def read_documents(path):
    """Read train.txt -> the texts of its documents."""
    return path.read_text(encoding="utf-8").split(END_OF_TEXT + "\n")[:-1]


def with_braces(document):
    """Return the text with its recall cases in {braces}."""
    text = document.text
    for case in reversed(document.cases):
        text = f"{text[: case.start]}{{{text[case.start : case.end]}}}{text[case.end :]}"
    return text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=TRAINING)
    parser.add_argument("--n_documents", type=int, default=N_DOCUMENTS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--genre", choices=GENRES, help="print ten documents of this genre, and write nothing"
    )
    args = parser.parse_args()
    if args.genre:
        for _, document in documents(10, args.seed, {args.genre: 1}):
            print(with_braces(document), end="\n\n---\n\n")
    else:
        for name, checksum in write_text(args.folder, args.n_documents, args.seed).items():
            print(f"{checksum}  {name}")


if __name__ == "__main__":
    main()
