"""The perplexity of a text file, by a window that slides over it.

    python experiments/perplexity.py story.txt
    python experiments/perplexity.py --stride=64 --state=story.json story.txt

Perplexity is exp of the mean surprise of a token, in nats. A window of `context` tokens moves on by `stride`
and scores what is new in it: with a small stride each token has much text before it, and the run takes long.
In the file a line of <|endoftext|> stands between two documents. Bits per byte do not depend on the
tokenizer, and so compare models with different ones.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
from common import progress, write_whole

from cli import run
from commands import read_text
from encoder import END_OF_TEXT
from files import read_json
from gpt2 import score_windows
from layout import find_arrays
from utils import load_encoder_hparams_and_params

SEPARATOR = f"\n{END_OF_TEXT}\n"


def encode_documents(encoder, text):
    """Text -> the ids of its documents, each after the id of <|endoftext|>."""
    ids = []
    for document in text.split(SEPARATOR):
        ids += [encoder.end_of_text, *encoder.encode(document)]
    return ids


def total_surprise(ids, params, n_head, stride, state=None):
    """The surprise of all tokens but the first, in nats: what a run finds, and goes on with from its state.

    Args:
        state: a file {"run": what is computed, "n_scored": how many tokens are done, "nats": their surprise}.

    Raises:
        ValueError: the state is that of another run.
    """
    if len(ids) < 2:
        raise ValueError("there is no text to score")
    done = {"run": fingerprint(ids, stride, params) if state else None, "n_scored": 0, "nats": 0.0}
    if state and Path(state).expanduser().exists():
        saved = read_json(Path(state).expanduser())
        if saved.keys() != done.keys() or saved["run"] != done["run"]:
            raise ValueError(f"{state} is of another text, model, context or stride; give another file")
        done = saved
    with progress(None, len(ids) - 1, "token", done["n_scored"]) as bar:
        for log_probs in score_rest(done["n_scored"], ids, params, n_head, stride):
            done["n_scored"] += len(log_probs)
            done["nats"] -= math.fsum(log_probs)
            bar.update(len(log_probs))
            if state:
                write_whole(state, json.dumps(done).encode())
    return done["nats"]


def fingerprint(ids, stride, params):
    """A hash of all that a run's result depends on."""
    digest = hashlib.sha256(np.array([*ids, stride]))
    for tree, name, _ in find_arrays(params):
        digest.update(np.ascontiguousarray(tree[name]))
    return digest.hexdigest()


def score_rest(n_scored, ids, params, n_head, stride):
    """What `score_windows` yields after the windows with the first n_scored tokens."""
    if n_scored == 0:
        yield from score_windows(ids, params, n_head, stride)
    elif n_scored < len(ids) - 1:
        # In its first window it scores n_ctx tokens: let that be the next window, of which `stride` are new.
        n_ctx = len(params["wpe"])
        start = min(n_scored + stride, len(ids) - 1) - n_ctx
        windows = score_windows(ids[start:], params, n_head, stride)
        yield next(windows)[n_scored - start :]
        yield from windows


def main(path: str, stride: int = None, context: int = None, state: str = None, model_size: str = None):
    """Print the perplexity of a text file.

    Args:
        path: the file, UTF-8.
        stride: by how many tokens the window moves on; by default half of the context.
        context: how many tokens the window has; by default as many as the model can see.
        state: a file to keep what is done in, and to go on from.
        model_size: as for gpt2.py.
    """
    text = read_text(path)
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    context = hparams["n_ctx"] if context is None else context
    stride = (context + 1) // 2 if stride is None else stride
    if not 1 <= context <= hparams["n_ctx"]:
        raise ValueError(f"context must be from 1 to {hparams['n_ctx']}, not {context}")
    params = params | {"wpe": params["wpe"][:context]}
    ids = encode_documents(encoder, text)
    n_bytes = len(text.replace(SEPARATOR, "").encode("utf-8"))
    if n_bytes == 0:
        raise ValueError(f"{path} is empty")
    nats = total_surprise(ids, params, hparams["n_head"], stride, state)
    nats_per_token = nats / (len(ids) - 1)
    print(f"tokens         {len(ids) - 1:10d}")
    print(f"bytes          {n_bytes:10d}")
    print(f"nats per token {nats_per_token:10.4f}")
    print(f"perplexity     {math.exp(nats_per_token):10.4f}")
    print(f"bits per byte  {nats / math.log(2) / n_bytes:10.4f}")


if __name__ == "__main__":
    run(main)
