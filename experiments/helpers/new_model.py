"""A new GPT-2: its size, and its random initial parameters."""

import numpy as np

from loading.weight_order import find_arrays

DEFAULT_SIZE = {"n_layer": 2, "n_head": 4, "n_embd": 64}

# minGPT's names: github.com/karpathy/minGPT, mingpt/model.py
SIZES = {
    "gpt-nano": {"n_layer": 3, "n_head": 3, "n_embd": 48},
    "gpt-micro": {"n_layer": 4, "n_head": 4, "n_embd": 128},
    "gpt-mini": {"n_layer": 6, "n_head": 6, "n_embd": 192},
    "gopher-44m": {"n_layer": 8, "n_head": 16, "n_embd": 512},
    "openai-gpt": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}


def choose_size(name=None, **numbers):
    """Look up a size: {"n_layer", "n_head", "n_embd"}. Numbers that are not None replace those of the name.

    Raises:
        ValueError: the name is unknown, a number is 0, or n_embd is not a multiple of n_head.
    """
    if name not in (None, *SIZES):
        raise ValueError(f"unknown size {name!r}: choose one of {', '.join(SIZES)}")
    size = dict(SIZES.get(name, DEFAULT_SIZE))
    size |= {key: number for key, number in numbers.items() if number is not None}
    for key, number in size.items():
        if number < 1:
            raise ValueError(f"{key} must be 1 or more, not {number}")
    if size["n_embd"] % size["n_head"]:
        raise ValueError(f"n_embd must be a multiple of n_head, {size['n_head']}, not {size['n_embd']}")
    return size


def init_params(rng, n_vocab, n_ctx, n_embd, n_layer):
    """Random initial parameters with GPT-2's distribution, nested as `gpt2` takes them; float32."""

    def normal(*shape, std=0.02):
        return rng.normal(0, std, shape).astype(np.float32)

    def norm():
        return {"g": np.ones(n_embd, np.float32), "b": np.zeros(n_embd, np.float32)}

    def linear(n_in, n_out, std=0.02):
        return {"w": normal(n_in, n_out, std=std), "b": np.zeros(n_out, np.float32)}

    def block():
        std = 0.02 / (2 * n_layer) ** 0.5  # for weights that add to x: that happens 2*n_layer times
        return {
            "ln_1": norm(),
            "attn": {"c_attn": linear(n_embd, 3 * n_embd), "c_proj": linear(n_embd, n_embd, std)},
            "ln_2": norm(),
            "mlp": {"c_fc": linear(n_embd, 4 * n_embd), "c_proj": linear(4 * n_embd, n_embd, std)},
        }

    wte, wpe = normal(n_vocab, n_embd), normal(n_ctx, n_embd)
    return {"wte": wte, "wpe": wpe, "blocks": [block() for _ in range(n_layer)], "ln_f": norm()}


def count_params(params):
    """Count the numbers in all arrays. wte counts once, although it is also the output matrix."""
    return sum(tree[name].size for tree, name, _ in find_arrays(params))
