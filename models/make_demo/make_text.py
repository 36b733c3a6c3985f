"""Write the demo model's text: train.txt and held_out.jsonl. The same seed gives the same bytes.

    python -m models.make_demo.make_text
    python -m models.make_demo.make_text --genre=letters      print ten letters, with recall cases in {braces}

Worlds are held out, not documents: one world in 50, picked by a checksum of its words, never appears in the
training text. held_out.jsonl keeps the genre and the recall cases of each document for evaluate.py.
"""

import hashlib
import json
import random
import re
import zlib
from pathlib import Path

from tqdm import tqdm

from cli.exit_status import run
from encoder import END_OF_TEXT
from models.make_demo.grammar import expand_document, read_genre

TRAINING = Path(__file__).parents[1] / "demo_training"  # git ignores it
GENRE_SHARES = {  # genre: share of the documents
    "stories_fairy": 0.20,
    "stories_lost": 0.23,
    "stories_daily": 0.21,
    "letters": 0.16,
    "descriptions": 0.10,
    "science_notes": 0.04,
    "explanations": 0.03,
    "dialogues": 0.03,
}
N_DOCUMENTS, SEED = 150_000, 1
MIN_WORDS, MAX_WORDS = 30, 130  # with punctuation marks, which keeps documents below 150 tokens


def count_words(text):
    """Count words and punctuation marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def generate_documents(n_documents, seed, genres=GENRE_SHARES):
    """Yield (genre, document) n_documents times. Documents outside MIN_WORDS to MAX_WORDS are skipped."""
    rng = random.Random(seed)
    grammars = {genre: read_genre(genre) for genre in genres}
    shares = list(genres.values())
    for genre in rng.choices(list(genres), shares, k=n_documents):
        document = expand_document(*grammars[genre], rng)
        while not MIN_WORDS <= count_words(document.text) <= MAX_WORDS:
            document = expand_document(*grammars[genre], rng)
        yield genre, document


def is_held_out(world):
    """Decide by a checksum of the world's words. A world of fewer than three words is never held out."""
    return len(world) >= 3 and zlib.crc32(" ".join(sorted(world.values())).encode()) % 50 == 0


def write_text(folder, n_documents, seed):
    """Write train.txt and held_out.jsonl, each under a temporary name until it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    train_path, held_out_path = folder / "train.partial", folder / "held_out.partial"
    with (
        train_path.open("w", encoding="utf-8", newline="\n") as train,
        held_out_path.open("w", encoding="utf-8", newline="\n") as held_out,
    ):
        for genre, document in tqdm(generate_documents(n_documents, seed), total=n_documents, desc="text"):
            if is_held_out(document.world):
                line = json.dumps({"genre": genre, "text": document.text, "cases": document.cases})
                held_out.write(line + "\n")
            else:
                train.write(document.text + END_OF_TEXT + "\n")
    train_path.replace(folder / "train.txt")
    held_out_path.replace(folder / "held_out.jsonl")


def read_documents(path):
    """Read train.txt -> the texts of its documents."""
    return path.read_text(encoding="utf-8").split(END_OF_TEXT + "\n")[:-1]


def read_held_out(path, n_documents=None):
    """Read held_out.jsonl -> dictionaries of genre, text and cases: [[kind, start, end], ...]."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:n_documents]]


def with_braces(document):
    """Return the text with its recall cases in {braces}."""
    text = document.text
    for case in reversed(document.cases):
        text = f"{text[: case.start]}{{{text[case.start : case.end]}}}{text[case.end :]}"
    return text


def main(folder: str = None, n_documents: int = N_DOCUMENTS, seed: int = SEED, genre: str = None):
    """Write the demo model's text, and print the checksums of its files.

    Args:
        folder: where to. The default is models/demo_training.
        n_documents: the number of documents, held-out ones included.
        seed: the seed of all random choices.
        genre: print ten documents of this genre, and write nothing.
    """
    if genre is not None:
        if genre not in GENRE_SHARES:
            raise ValueError(f"the genre must be one of {', '.join(GENRE_SHARES)}, not {genre}")
        for _, document in generate_documents(10, seed, {genre: 1}):
            print(with_braces(document), end="\n\n---\n\n")
        return
    folder = Path(folder or TRAINING)
    write_text(folder, n_documents, seed)
    for name in ("train.txt", "held_out.jsonl"):
        print(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}")


if __name__ == "__main__":
    run(main)
