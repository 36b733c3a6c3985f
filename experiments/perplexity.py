"""Measure the perplexity of a text file with a sliding window.

    python experiments/perplexity.py story.txt
    python experiments/perplexity.py --stride=64 --state=story.json story.txt

Perplexity is exp of the mean surprise per token, in nats. A window of `context` tokens moves by `stride`
tokens and scores the new ones. A smaller stride gives each token more context, and takes longer.
<|endoftext|>, on a line of its own or between two texts, separates documents in the file. Bits per byte do
not depend on the tokenizer, so they compare models with different tokenizers.
"""

import hashlib
import json
import math
import re
from pathlib import Path

import numpy as np
from helpers.output_files import write_atomically
from helpers.progress_bar import progress_bar

from cli.exit_status import run
from cli.prompts import read_text
from encoder import END_OF_TEXT
from generation.scoring import format_exp, score_windows
from loading.untrusted_files import read_json
from loading.weight_order import find_arrays
from utils import load_encoder_hparams_and_params

SEPARATOR = re.compile(rf"\n?{re.escape(END_OF_TEXT)}\n?")


def encode_documents(encoder, text):
    """Encode the documents in a text. Returns all ids in one list: a token before each document.

    <|endoftext|> at the beginning of the text is that token. At the end of the text it is one more token.
    Raises ValueError if the model has no such token, and the text needs it.
    """
    first, *others = SEPARATOR.split(text)
    end = encoder.encode(END_OF_TEXT, {END_OF_TEXT}) if END_OF_TEXT in encoder.added_tokens else []
    end = end or encoder.stop_ids[:1]
    if others and not end:
        raise ValueError(f"the model has no token for {END_OF_TEXT}, which separates documents in the text")
    ids = [*encoder.start_ids, *encoder.encode(first)] if first or not others else []
    for document in others:
        ids += [*end, *encoder.encode(document)]
    return ids


def total_surprise(ids, params, n_head, stride, state=None):
    """The surprise of all tokens but the first, in nats. Resumes an interrupted run from its state file.

    Args:
        state: a file {"run": the fingerprint, "n_scored": scored tokens, "nats": their surprise}, or None.

    Raises:
        ValueError: there is no token to score, or the state belongs to another run.
    """
    if len(ids) < 2:
        raise ValueError("there is no text to score")
    done = {"run": fingerprint(ids, stride, params) if state else None, "n_scored": 0, "nats": 0.0}
    if state and Path(state).expanduser().exists():
        saved = read_json(Path(state).expanduser())
        if saved.keys() != done.keys() or saved["run"] != done["run"]:
            raise ValueError(
                f"{state} belongs to another text, model, context or stride: choose another --state"
            )
        done = saved
    with progress_bar(None, len(ids) - 1, "token", done["n_scored"]) as bar:
        for log_probs in score_rest(done["n_scored"], ids, params, n_head, stride):
            done["n_scored"] += len(log_probs)
            done["nats"] -= math.fsum(log_probs)
            bar.update(len(log_probs))
            if state:
                write_atomically(state, json.dumps(done).encode())
    return done["nats"]


def fingerprint(ids, stride, params):
    """A hash of everything that determines the result of a run."""
    digest = hashlib.sha256(np.array([*ids, stride]))
    for tree, name, _ in find_arrays(params):
        digest.update(np.ascontiguousarray(tree[name]))
    return digest.hexdigest()


def score_rest(n_scored, ids, params, n_head, stride):
    """Yield the same windows as `score_windows`, without the windows of the first n_scored tokens."""
    if n_scored == 0:
        yield from score_windows(ids, params, n_head, stride)
    elif n_scored < len(ids) - 1:
        # The first window of score_windows scores n_ctx tokens. Here only the last `stride` of them are new.
        n_ctx = len(params["wpe"])
        start = min(n_scored + stride, len(ids) - 1) - n_ctx
        windows = score_windows(ids[start:], params, n_head, stride)
        yield next(windows)[n_scored - start :]
        yield from windows


def main(path: str, stride: int = None, context: int = None, state: str = None, model_size: str = None):
    """Print the perplexity of a text file.

    Args:
        path: the file, UTF-8.
        stride: the number of tokens by which the window moves. The default is half of the context.
        context: the number of tokens in the window. The default is n_ctx.
        state: a file that stores the progress. The same command resumes from it.
        model_size: the model, as for gpt2.py.
    """
    text = read_text(path)
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    context = hparams["n_ctx"] if context is None else context
    stride = (context + 1) // 2 if stride is None else stride
    if not 1 <= context <= hparams["n_ctx"]:
        raise ValueError(f"context must be from 1 to {hparams['n_ctx']}, not {context}")
    params = params | {"wpe": params["wpe"][:context]}
    ids = encode_documents(encoder, text)
    n_bytes = len(SEPARATOR.sub("", text).encode("utf-8"))
    if n_bytes == 0:
        raise ValueError(f"{path} is empty")
    nats = total_surprise(ids, params, hparams["n_head"], stride, state)
    nats_per_token = nats / (len(ids) - 1)
    print(f"tokens         {len(ids) - 1:10d}")
    print(f"bytes          {n_bytes:10d}")
    print(f"nats per token {nats_per_token:10.4f}")
    print(f"perplexity     {format_exp(nats_per_token)}")
    print(f"bits per byte  {nats / math.log(2) / n_bytes:10.4f}")


if __name__ == "__main__":
    run(main)
