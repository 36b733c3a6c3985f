"""helpers/new_model.py and helpers/optimizer.py: sizes equal those of published models; weight decay."""

import jax
import numpy as np
import optax
import pytest
from helpers.new_model import SIZES, choose_size, count_params, init_params
from helpers.optimizer import new_optimizer
from support.random_params import small_model

# OpenAI published these sizes as 124M, 355M, 774M and 1558M.
PUBLISHED_MILLIONS = {"gpt2": 124, "gpt2-medium": 355, "gpt2-large": 774, "gpt2-xl": 1558}


@pytest.mark.parametrize("name", SIZES)
def test_number_of_parameters_equals_transformers(name):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    size = choose_size(name)
    with torch.device("meta"):  # without memory
        model = GPT2LMHeadModel(GPT2Config(vocab_size=50257, n_positions=1024, **size))
    n_params = model.num_parameters()
    if name in PUBLISHED_MILLIONS:
        assert round(n_params / 1e6) == PUBLISHED_MILLIONS[name]
    if size["n_embd"] < 512:
        del size["n_head"]
        params = init_params(np.random.default_rng(0), n_vocab=50257, n_ctx=1024, **size)
        assert count_params(params) == n_params


def test_numbers_replace_those_of_the_name():
    assert choose_size("gpt-nano", n_layer=5, n_head=None) == {"n_layer": 5, "n_head": 3, "n_embd": 48}


def test_only_matrices_of_linear_layers_decay():
    """With gradients of zero, AdamW only decays."""
    params = small_model()
    optimizer = new_optimizer(learning_rate=0.5, n_steps=5)
    gradients = jax.tree.map(np.zeros_like, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    new_params = optax.apply_updates(params, updates)

    linear = [block[part] for block in params["blocks"] for part in ("attn", "mlp")]
    new_linear = [block[part] for block in new_params["blocks"] for part in ("attn", "mlp")]
    for old, new in zip(linear, new_linear, strict=True):
        for layer in old:
            np.testing.assert_allclose(new[layer].pop("w"), old[layer].pop("w") * (1 - 0.5 * 0.01), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, new_params, params)  # all others: embeddings, norms, biases
    assert len(jax.tree.leaves(params)) == 2 + 3 * 8 + 2
