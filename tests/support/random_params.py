"""Seeded random parameters of any shape, nested as `gpt2` takes them."""

import numpy as np


def random_params(n_vocab, n_ctx, n_embd, n_layer, std, seed=0):
    """float32 parameters. With a large `std`, every part of the model has an effect on the logits."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(std)

    def norm():
        return {"g": 1 + normal(n_embd), "b": normal(n_embd)}

    def linear(n_in, n_out):
        return {"w": normal(n_in, n_out), "b": normal(n_out)}

    def block():
        return {
            "ln_1": norm(),
            "attn": {"c_attn": linear(n_embd, 3 * n_embd), "c_proj": linear(n_embd, n_embd)},
            "ln_2": norm(),
            "mlp": {"c_fc": linear(n_embd, 4 * n_embd), "c_proj": linear(4 * n_embd, n_embd)},
        }

    return {
        "wte": normal(n_vocab, n_embd),
        "wpe": normal(n_ctx, n_embd),
        "blocks": [block() for _ in range(n_layer)],
        "ln_f": norm(),
    }


def small_model(seed=0):
    """Parameters for n_head 1, 2, 3, 4, 6 or 12: 50 tokens, n_ctx 24, 3 layers."""
    return random_params(n_vocab=50, n_ctx=24, n_embd=12, n_layer=3, std=0.3, seed=seed)
