"""What the experiments share: the way to gpt2.py, the insides of the model, visible tokens, files."""

import io
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where gpt2.py is

from files import CheckpointError
from gpt2 import transformer_block


def hidden_states(ids, params, n_head):
    """What goes into the first block and comes out of each. ids [n_seq] -> [n_layer + 1, n_seq, n_embd]."""
    x = params["wte"][np.asarray(ids)] + params["wpe"][: len(ids)]  # [n_seq] -> [n_seq, n_embd]
    states = [x]
    for block in params["blocks"]:
        states.append(transformer_block(states[-1], **block, n_head=n_head))  # [n_seq, n_embd]
    return np.stack(states)


def encode(encoder, text, params):
    """Text -> ids; ValueError unless the model can see them all at once."""
    ids, n_ctx = encoder.encode(text), len(params["wpe"])
    if len(ids) > n_ctx:
        raise ValueError(f"the text has {len(ids)} tokens, and this model can see {n_ctx} at most")
    return ids


def visible(text):
    """Text with its white space made visible: " a\\n" -> "·a↵"."""
    signs = {" ": "·", "\n": "↵", "\t": "→"}
    return "".join(signs.get(char, char if char.isprintable() else "�") for char in text)


def token_texts(encoder, ids):
    """The text of each token, a list; bytes that are only a part of a character are like \\xe2."""
    return [encoder.decode_bytes([id]).decode("utf-8", errors="backslashreplace") for id in ids]


def labels(encoder, ids):
    """The visible text of each token, a list."""
    return [visible(token) for token in token_texts(encoder, ids)]


def on_colour(text, colour):
    """Text on one of a terminal's 256 colours."""
    return f"\x1b[30;48;5;{colour}m{text}\x1b[0m"


def progress(iterable, n, unit, n_done=0):
    """tqdm's bar, on a terminal's stderr, once it has taken two seconds."""
    return tqdm(iterable, total=n, initial=n_done, unit=unit, delay=2, leave=False, disable=None)


def read_npz(path):
    """A file of np.savez -> {name: array}; CheckpointError if it is damaged. Pickles in it are not loaded."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, MemoryError):
        raise
    except Exception:  # there is no end to what a damaged file can raise
        raise CheckpointError(f"{path}: it is not, or not only, arrays saved by np.savez") from None


def write_whole(path, content):
    """Write a file, which has its name only when it is whole. ValueError if its folder is not there."""
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} to")
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_picture(path, figure):
    """Write a matplotlib Figure as a PNG, and say where it is. ValueError if the name is not that of one."""
    if not str(path).endswith(".png"):
        raise ValueError(f"{path} is not the name of a .png file")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, bbox_inches="tight")
    write_whole(path, content.getvalue())
    print(path)
