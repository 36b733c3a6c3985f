"""What the experiments share: the way to gpt2.py, hidden states, and tokens as one can see them."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where gpt2.py is

from gpt2 import transformer_block


def hidden_states(ids, params, n_head):
    """What goes into the first block and comes out of each. ids [n_seq] -> [n_layer + 1, n_seq, n_embd]."""
    x = params["wte"][np.asarray(ids)] + params["wpe"][: len(ids)]  # [n_seq] -> [n_seq, n_embd]
    states = [x]
    for block in params["blocks"]:
        states.append(transformer_block(states[-1], **block, n_head=n_head))
    return np.stack(states)


def check_ids(ids, params):
    """ValueError unless there are tokens, and the model can see them all at once."""
    n_ctx = len(params["wpe"])
    if not 1 <= len(ids) <= n_ctx:
        raise ValueError(f"the text has {len(ids)} tokens; it must have from 1 to {n_ctx}")


def visible(token):
    """The text of a token with its white space made visible: " a\\n" -> "·a↵"."""
    return "".join({" ": "·", "\n": "↵", "\t": "→"}.get(c, c if c.isprintable() else "�") for c in token)


def token_texts(encoder, ids):
    """The visible text of each token. Where a token is a piece of a character that is �."""
    return [visible(encoder.decode([id])) for id in ids]
