"""Karpathy's microGPT, the GPT in 200 lines of plain Python (2026), on the building blocks of GPT-2.

Its tokens are characters and one more, BOS, before and after each name. Four functions are enough for what
differs from GPT-2: RMSNorm in place of layer_norm, also right after the embeddings but not at the end; ReLU
in place of GELU (the very first versions squared it); no biases; an lm_head of its own. Attention, the cache
and sampling are the same. Python's numbers are float64, and so are these.

    python experiments/microgpt.py --seed=1
    python experiments/microgpt.py my_names.json --temperature=1 --n_names=20

data/names.json is by data/make_names.py. These lines, at the end of microgpt.py, write such a file:

    weights = {name: [[p.data for p in row] for row in rows] for name, rows in state_dict.items()}
    json.dump({"chars": uchars, "n_head": n_head, "state_dict": weights}, open("my_names.json", "w"))

With NumPy, np.savez("my_names.npz", chars=uchars, n_head=n_head, **weights) does as well.

RMSNorm: Zhang and Sennrich, 2019, arXiv:1910.07467. microGPT: https://karpathy.github.io/2026/02/12/microgpt/
"""

import operator
from pathlib import Path

import numpy as np
from common import read_npz

from cli import run
from files import CheckpointError, faults_of, read_json
from gpt2 import linear, mha, new_cache
from sampling import sample

NAMES = Path(__file__).resolve().parent / "data" / "names.json"
MAX_SIZE = 2**26  # bytes of a file of weights


def rmsnorm(x):
    """Bring each token's values to a mean square of 1. [n_seq, n_embd] -> [n_seq, n_embd]."""
    return x * (np.mean(x * x, axis=-1, keepdims=True) + 1e-5) ** -0.5


def ffn(x, c_fc, c_proj):
    """Feed-forward network, with ReLU. [n_seq, n_embd] -> [n_seq, n_embd]."""
    return linear(np.maximum(linear(x, **c_fc), 0), **c_proj)  # [n_seq, n_embd] -> [n_seq, 4*n_embd] -> back


def block(x, attn, mlp, n_head, cache=None):
    """Attention, then the feed-forward network; each adds to x. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(rmsnorm(x), **attn, n_head=n_head, cache=cache)
    return x + ffn(rmsnorm(x), **mlp)


def microgpt(ids, wte, wpe, blocks, lm_head, n_head, cache=None, n_past=0):
    """The model. ids [n_seq] -> logits [n_seq, n_vocab]; the cache is used as by `gpt2`."""
    n_keys = n_past + np.shape(ids)[-1]
    x = rmsnorm(wte[np.asarray(ids)] + wpe[n_past:n_keys])  # [n_seq] -> [n_seq, n_embd]
    for layer, params in enumerate(blocks):
        past = None if cache is None else cache[layer, ..., :n_keys, :]  # [2, n_head, n_keys, head_dim]
        x = block(x, **params, n_head=n_head, cache=past)  # -> [n_seq, n_embd]
    return x @ lm_head.T  # [n_seq, n_embd] @ [n_embd, n_vocab] -> [n_seq, n_vocab]


def sample_name(params, n_head, temperature, rng):
    """Draw characters, from BOS on, until BOS is drawn or there are n_ctx of them -> their ids."""
    bos = len(params["wte"]) - 1
    cache, ids = new_cache(params, n_head), [bos]
    for n_past in range(len(params["wpe"])):
        logits = microgpt(ids[-1:], **params, n_head=n_head, cache=cache, n_past=n_past)  # -> [1, n_vocab]
        id = int(sample(logits[-1], temperature, rng=rng))
        if id == bos:
            break
        ids.append(id)
    return ids[1:]


def load(path):
    """Read chars, n_head and the weights of a file -> chars, params as `microgpt` takes them, n_head.

    CheckpointError if the file is damaged, or a weight is missing, unknown or misshapen.
    """
    if Path(path).suffix == ".npz":
        content = read_npz(path)
        content["state_dict"] = {name: content[name] for name in content.keys() - {"chars", "n_head"}}
    else:
        content = read_json(path, MAX_SIZE)
    try:
        chars, n_head = "".join(np.atleast_1d(content["chars"])), operator.index(content["n_head"])
        state_dict = content["state_dict"].items()
        weights = {name: np.array(rows, dtype=np.float64, ndmin=2) for name, rows in state_dict}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{path}: it must have chars, n_head, and weights of rows of numbers") from None
    with faults_of(path):
        params = nest(weights, n_vocab=len(chars) + 1)
        n_embd = params["wte"].shape[1]
        if n_head < 1 or n_embd % n_head:
            raise CheckpointError(f"n_head must divide n_embd, {n_embd}, and {n_head} does not")
    return chars, params, n_head


def nest(weights, n_vocab):
    """microGPT's weights, {name: [n_out, n_in]} -> params, whose weights are [n_in, n_out] and biases 0."""
    n_embd, n_ctx = weights.get("wte", np.empty((0, 0))).shape[1], len(weights.get("wpe", ()))

    def take(name, n_out=n_embd, n_in=n_embd):
        weight = weights.pop(name, np.empty(0))
        if weight.shape != (n_out, n_in) or not weight.size or not np.isfinite(weight).all():
            raise CheckpointError(f"{name} must be {n_out} rows of {n_in} numbers")
        return weight

    def transposed(*names, **shape):
        return {"w": np.concatenate([take(name, **shape) for name in names]).T, "b": 0}

    params = {"wte": take("wte", n_vocab), "wpe": take("wpe", n_ctx), "lm_head": take("lm_head", n_vocab)}
    params["blocks"] = []
    while weights:
        layer = f"layer{len(params['blocks'])}"
        if not any(name.startswith(f"{layer}.") for name in weights):
            raise CheckpointError(f"{min(weights)} is not in a microGPT of {len(params['blocks'])} layers")
        attn = {
            "c_attn": transposed(*(f"{layer}.attn_w{kind}" for kind in "qkv")),  # [n_embd, 3*n_embd]
            "c_proj": transposed(f"{layer}.attn_wo"),
        }
        mlp = {
            "c_fc": transposed(f"{layer}.mlp_fc1", n_out=4 * n_embd),
            "c_proj": transposed(f"{layer}.mlp_fc2", n_in=4 * n_embd),
        }
        params["blocks"].append({"attn": attn, "mlp": mlp})
    return params


def main(path: str = NAMES, n_names: int = 10, temperature: float = 0.5, seed: int = None):
    """Invent names with the weights of a microGPT.

    Args:
        path: a .json or .npz file with the weights, made as the top of this script says; by default
            data/names.json.
        n_names: how many names to draw.
        temperature: below 1 the likely characters get likelier; 0 always takes the likeliest.
        seed: a whole number; with the same one chance repeats itself.
    """
    chars, params, n_head = load(path)
    rng = np.random.default_rng(seed)
    for _ in range(n_names):
        print("".join(chars[id] for id in sample_name(params, n_head, temperature, rng)))


if __name__ == "__main__":
    run(main)
