"""What the experiments share: the way to gpt2.py, the insides of the model, visible tokens, files."""

import io
import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where gpt2.py is

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


def spell(encoder, ids):
    """The text of each token, a list; bytes that are only a part of a character are like \\xe2."""
    return [encoder.decode_bytes([id]).decode("utf-8", errors="backslashreplace") for id in ids]


def labels(encoder, ids):
    """The visible text of each token, a list."""
    return [visible(token) for token in spell(encoder, ids)]


def progress(iterable, n, unit, n_done=0):
    """tqdm's bar, on a terminal's stderr, once it has taken two seconds."""
    return tqdm(iterable, total=n, initial=n_done, unit=unit, delay=2, leave=False, disable=None)


def write_whole(path, content):
    """Write a file, which has its name only when it is whole. ValueError if its folder is not there."""
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to write {path.name} to")
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_picture(path, figure):
    """Write a matplotlib Figure as a PNG, and say where it is."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, bbox_inches="tight")
    write_whole(path, content.getvalue())
    print(path)
