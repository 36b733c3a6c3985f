"""Run a microGPT, Karpathy's GPT in 200 lines of plain Python (2026), with the building blocks of GPT-2.

    python experiments/microgpt.py --seed=1
    python experiments/microgpt.py my_names.json --temperature=1 --n_names=20

microGPT generates names character by character. One extra token, BOS, comes before and after each name. Its
model differs from GPT-2 in these points:

- RMSNorm replaces layer_norm. It is also applied to the embeddings, but not before the lm_head.
- ReLU replaces GELU. (The very first versions squared it.)
- There are no biases, and the lm_head is separate from wte.
- Numbers are float64, like Python's.

The default weights, data/names.json, come from data/make_names.py. To save your own, append to microgpt.py:

    weights = {name: [[p.data for p in row] for row in rows] for name, rows in state_dict.items()}
    json.dump({"chars": uchars, "n_head": n_head, "state_dict": weights}, open("my_names.json", "w"))

With NumPy you can also use np.savez("my_names.npz", chars=uchars, n_head=n_head, **weights).

Sources: https://karpathy.github.io/2026/02/12/microgpt/; RMSNorm: Zhang and Sennrich, 2019, arXiv:1910.07467.
"""

import operator
from pathlib import Path

import numpy as np
from helpers.npz_file import read_npz

from cli.exit_status import run
from gpt2 import ffn, mha, new_cache, sample
from loading.untrusted_files import CheckpointError, error_context, read_json

NAMES = Path(__file__).resolve().parent / "data" / "names.json"
MAX_SIZE = 2**26  # bytes of a file of weights


def rmsnorm(x):
    """Scale each token to a mean square of 1. [n_seq, n_embd] -> [n_seq, n_embd]."""
    return x * (np.mean(x * x, axis=-1, keepdims=True) + 1e-5) ** -0.5


def relu(x):
    """Rectified linear unit. [...] -> [...]."""
    return np.maximum(x, 0)


def microgpt_block(x, attn, mlp, n_head, cache=None):
    """Attention, then the feed-forward network; each adds to x. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(rmsnorm(x), **attn, n_head=n_head, cache=cache)
    return x + ffn(rmsnorm(x), **mlp)


def microgpt(ids, wte, wpe, blocks, lm_head, n_head, cache=None, n_past=0):
    """Token ids to logits, like `gpt2`. The cache works in the same way. [n_seq] -> [n_seq, n_vocab]."""
    n_keys = n_past + np.shape(ids)[-1]
    x = rmsnorm(wte[np.asarray(ids)] + wpe[n_past:n_keys])  # [n_seq] -> [n_seq, n_embd]
    for layer, block in enumerate(blocks):
        past = None if cache is None else cache[layer, ..., :n_keys, :]  # [2, n_head, n_keys, head_dim]
        x = microgpt_block(x, **block, n_head=n_head, cache=past)  # -> [n_seq, n_embd]
    return x @ lm_head.T  # [n_seq, n_embd] @ [n_embd, n_vocab] -> [n_seq, n_vocab]


def sample_name(params, n_head, temperature, rng):
    """Sample ids after BOS, up to the next BOS or to n_ctx ids. Returns the ids of the name."""
    bos = len(params["wte"]) - 1
    cache, ids = new_cache(params, n_head), [bos]
    for n_past in range(len(params["wpe"])):
        logits = microgpt(ids[-1:], **params, n_head=n_head, cache=cache, n_past=n_past)  # -> [1, n_vocab]
        next_id = int(sample(logits[-1], temperature, rng=rng))
        if next_id == bos:
            break
        ids.append(next_id)
    return ids[1:]


def load(path):
    """Read a file of weights. Returns chars, params as `microgpt` takes them, and n_head.

    Raises:
        CheckpointError: the file is damaged, or a weight is missing, unknown or has the wrong shape.
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
        raise CheckpointError(f"{path}: expected chars, n_head, and weights as rows of numbers") from None
    with error_context(path):
        params = nest(weights, n_vocab=len(chars) + 1)
        n_embd = params["wte"].shape[1]
        if n_head < 1 or n_embd % n_head:
            raise CheckpointError(f"n_head must divide n_embd, {n_embd}, but it is {n_head}")
    return chars, params, n_head


def nest(weights, n_vocab):
    """Convert microGPT's weights, {name: [n_out, n_in]}, to nested params with weights [n_in, n_out]."""
    n_embd, n_ctx = weights.get("wte", np.empty((0, 0))).shape[1], len(weights.get("wpe", ()))

    def take(name, n_out=n_embd, n_in=n_embd):
        weight = weights.pop(name, np.empty(0))
        if weight.shape != (n_out, n_in) or not weight.size or not np.isfinite(weight).all():
            raise CheckpointError(f"{name} must be {n_out} rows of {n_in} numbers")
        return weight

    def take_linear(*names, **shape):
        return {"w": np.concatenate([take(name, **shape) for name in names]).T}

    params = {"wte": take("wte", n_vocab), "wpe": take("wpe", n_ctx), "lm_head": take("lm_head", n_vocab)}
    params["blocks"] = []
    while weights:
        layer = f"layer{len(params['blocks'])}"
        if not any(name.startswith(f"{layer}.") for name in weights):
            raise CheckpointError(f"a microGPT of {len(params['blocks'])} layers has no {min(weights)}")
        attn = {
            "c_attn": take_linear(*(f"{layer}.attn_w{kind}" for kind in "qkv")),  # [n_embd, 3*n_embd]
            "c_proj": take_linear(f"{layer}.attn_wo"),
        }
        mlp = {
            "c_fc": take_linear(f"{layer}.mlp_fc1", n_out=4 * n_embd),
            "c_proj": take_linear(f"{layer}.mlp_fc2", n_in=4 * n_embd),
            "act": relu,
        }
        params["blocks"].append({"attn": attn, "mlp": mlp})
    return params


def main(path: str = NAMES, n_names: int = 10, temperature: float = 0.5, seed: int = None):
    """Generate names with a microGPT.

    Args:
        path: a .json or .npz file with weights, in the format that this script's docstring describes. The
            default is data/names.json.
        n_names: the number of names.
        temperature: 0 is greedy. Below 1 sharpens the distribution, above 1 flattens it.
        seed: an integer that makes sampling repeatable.
    """
    chars, params, n_head = load(path)
    rng = np.random.default_rng(seed)
    for _ in range(n_names):
        print("".join(chars[token_id] for token_id in sample_name(params, n_head, temperature, rng)))


if __name__ == "__main__":
    run(main)
