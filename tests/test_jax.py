"""gpt2.py with jax.numpy in place of numpy: the same lines run, compile and differentiate."""

import numpy as np
import pytest
from support.random_params import small_model

import gpt2

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install -r experiments/requirements.txt")

N_HEAD = 3
IDS = np.array([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])


@pytest.mark.parametrize("ids", [IDS[0], IDS], ids=["text", "batch"])
@pytest.mark.parametrize("n_logits", [0, 2])
def test_jit_logits_equal_those_of_numpy(ids, n_logits, monkeypatch):
    params = small_model()
    expected = gpt2.gpt2(ids, **params, n_head=N_HEAD, n_logits=n_logits)
    monkeypatch.setattr(gpt2, "np", jax.numpy)
    compiled = jax.jit(gpt2.gpt2, static_argnames=("n_head", "n_logits"))
    logits = compiled(ids, **params, n_head=N_HEAD, n_logits=n_logits)
    assert isinstance(logits, jax.Array)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def mean_logit(params):
    """The mean logit of the tokens that follow: a scalar that depends on every weight."""
    logits = gpt2.gpt2(IDS[0, :-1], **params, n_head=N_HEAD)  # [n_seq - 1, n_vocab]
    return logits[np.arange(len(IDS[0]) - 1), IDS[0, 1:]].mean()


def test_the_gradient_of_a_weight_equals_its_finite_difference(monkeypatch):
    params = small_model()
    with monkeypatch.context() as patch:
        patch.setattr(gpt2, "np", jax.numpy)
        gradients = jax.grad(mean_logit)(params)
    assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves(gradients))
    assert all(np.abs(gradient).max() > 0 for gradient in jax.tree.leaves(gradients))

    float64 = jax.tree.map(lambda array: array.astype(np.float64), params)
    weight, place = float64["blocks"][0]["attn"]["c_attn"]["w"], (2, 30)  # one of the values, in NumPy
    value, step = weight[place], 1e-6
    weight[place] = value + step
    above = mean_logit(float64)
    weight[place] = value - step
    below = mean_logit(float64)
    gradient = gradients["blocks"][0]["attn"]["c_attn"]["w"][place]
    assert abs(gradient) > 1e-3
    assert gradient == pytest.approx((above - below) / (2 * step), rel=1e-3)
