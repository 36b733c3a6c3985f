"""Read a file of microGPT's weights. The docstring of microgpt.py shows how to write one."""

import operator
from pathlib import Path

import numpy as np

from helpers.npz_file import read_npz
from loading.untrusted_files import CheckpointError, error_context, read_json

MAX_SIZE = 2**26  # bytes of a .json file


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
        }
        params["blocks"].append({"attn": attn, "mlp": mlp})
    return params
