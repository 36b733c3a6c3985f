"""The forward pass against transformers, against plain loops, and properties of every GPT-2."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.float32_guard import Float32, guarded
from support.loop_gpt2 import loop_gpt2
from support.random_params import random_params, small_model

import gpt2
import gpt2_pico

BOTH = pytest.mark.parametrize("module", [gpt2, gpt2_pico], ids=["gpt2", "gpt2_pico"])


# Against transformers.


@BOTH
def test_logits_equal_those_of_transformers(module, demo, demo_logits):
    _, hparams, params = demo
    logits = [module.gpt2(ids, **params, n_head=hparams["n_head"]) for ids in demo_logits["prompts"]]
    all_logits = np.concatenate(logits)
    logsumexp = np.log(np.sum(np.exp(all_logits.astype(np.float64)), axis=-1))
    assert np.abs(all_logits[:, demo_logits["columns"]] - demo_logits["column_logits"]).max() <= 1e-4
    assert np.abs(logsumexp - demo_logits["logsumexp"]).max() <= 1e-4
    assert np.abs(np.stack([rows[-1] for rows in logits]) - demo_logits["last_logits"]).max() <= 1e-4


def test_reference_prompts_have_lengths_from_1_to_n_ctx(demo_logits):
    assert len(demo_logits["prompts"]) == 20
    assert demo_logits["lengths"].min() == 1
    assert demo_logits["lengths"].max() == 256


def test_batch_logits_equal_those_of_transformers(demo, demo_logits):
    _, hparams, params = demo
    rows = [n for n, length in enumerate(demo_logits["lengths"]) if length == 64]
    batch = [demo_logits["prompts"][row].tolist() for row in rows]
    assert len(batch) >= 3
    logits = gpt2.gpt2(batch, **params, n_head=hparams["n_head"])
    assert logits.shape == (len(batch), 64, hparams["n_vocab"])
    assert np.abs(logits[:, -1] - demo_logits["last_logits"][rows]).max() <= 1e-4


def test_gpt2_equals_pico(demo, demo_logits):
    _, hparams, params = demo
    for ids in demo_logits["prompts"]:
        logits = gpt2.gpt2(ids, **params, n_head=hparams["n_head"])
        assert np.abs(logits - gpt2_pico.gpt2(ids, **params, n_head=hparams["n_head"])).max() <= 1e-5


def test_batch_rows_equal_pico(demo):
    """BLAS sums matrices of other heights in another order: up to 2e-5, no further from float64 than pico."""
    _, hparams, params = demo
    batch = np.random.default_rng(0).integers(hparams["n_vocab"], size=(3, 50))
    logits = gpt2.gpt2(batch, **params, n_head=hparams["n_head"])
    for ids, row in zip(batch, logits, strict=True):
        assert np.abs(row - gpt2_pico.gpt2(ids, **params, n_head=hparams["n_head"])).max() <= 3e-5


# Against plain loops.


@BOTH
@pytest.mark.parametrize("n_head", [1, 2, 3, 12])
def test_logits_equal_plain_loops(module, n_head):
    params = small_model(seed=n_head)
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    expected = np.array(loop_gpt2(ids, **params, n_head=n_head))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(module.gpt2(ids, **params, n_head=n_head), expected, atol=1e-5)


# Properties of every GPT-2.


@BOTH
@given(seed=st.integers(0, 1000), n_seq=st.integers(2, 24), data=st.data())
def test_later_tokens_do_not_change_earlier_logits(module, seed, n_seq, data):
    params = small_model(seed % 5)
    ids = np.random.default_rng(seed).integers(50, size=n_seq)
    changed = data.draw(st.integers(1, n_seq - 1))
    other_ids = ids.copy()
    other_ids[changed] = (other_ids[changed] + 1) % 50
    before = module.gpt2(ids, **params, n_head=3)
    after = module.gpt2(other_ids, **params, n_head=3)
    np.testing.assert_allclose(after[:changed], before[:changed], atol=1e-6)
    assert np.abs(after[changed:] - before[changed:]).max(axis=-1).min() > 1e-6


@given(seed=st.integers(0, 1000), n_seq=st.integers(1, 24), n_logits=st.integers(1, 24))
def test_n_logits_keeps_the_last_rows(seed, n_seq, n_logits):
    params = small_model(seed % 5)
    ids = np.random.default_rng(seed).integers(50, size=(2, n_seq))
    all_logits = gpt2.gpt2(ids, **params, n_head=3)
    kept = gpt2.gpt2(ids, **params, n_head=3, n_logits=n_logits)
    assert kept.shape == (2, min(n_seq, n_logits), 50)
    np.testing.assert_allclose(kept, all_logits[:, -n_logits:], atol=1e-5)


@BOTH
def test_lm_head_replaces_wte_at_the_output(module):
    params = small_model()
    lm_head = np.random.default_rng(0).standard_normal((70, 12), dtype=np.float32)
    untied = module.gpt2([1, 2, 3], **params, n_head=3, lm_head=lm_head)
    assert untied.shape == (3, 70)
    identity = np.eye(12, dtype=np.float32)
    hidden = module.gpt2([1, 2, 3], **params, n_head=3, lm_head=identity)  # [3, n_embd]
    np.testing.assert_allclose(untied, hidden @ lm_head.T, atol=1e-5)
    np.testing.assert_allclose(
        module.gpt2([1, 2, 3], **params, n_head=3), hidden @ params["wte"].T, atol=1e-5
    )


@BOTH
@pytest.mark.parametrize("n_seq", [1, 24])
def test_one_token_and_a_full_context_fit(module, n_seq):
    assert module.gpt2([7] * n_seq, **small_model(), n_head=3).shape == (n_seq, 50)


@BOTH
def test_more_tokens_than_n_ctx_are_rejected(module):
    with pytest.raises(ValueError, match="24"):
        module.gpt2([7] * 25, **small_model(), n_head=3)


# float32.


@BOTH
def test_every_array_of_a_text_is_float32(module):
    logits = module.gpt2([1, 2, 3], **guarded(small_model()), n_head=3)
    assert isinstance(logits, Float32)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("n_past", [0, 2])
def test_every_array_of_a_batch_is_float32(n_past):
    params = guarded(small_model())
    ids, n_pad = np.array([[0, 1, 2], [3, 4, 5]]), np.array([[1], [0]])
    cache = gpt2.new_cache(params, 3, 2)
    assert cache.dtype == np.float32
    cache = guarded(cache)
    if n_past:
        gpt2.gpt2(ids[:, :n_past], **params, n_head=3, cache=cache, n_pad=n_pad)
    rest = ids[:, n_past:]
    logits = gpt2.gpt2(rest, **params, n_head=3, cache=cache, n_past=n_past, n_pad=n_pad, n_logits=1)
    assert isinstance(logits, Float32)
    assert logits.dtype == np.float32
    assert isinstance(gpt2.gpt2(ids, **params, n_head=3), Float32)


def float64_gelu(x):
    """GELU as in picoGPT: np.sqrt returns a float64 scalar."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


numpy_2 = pytest.mark.skipif(
    np.__version__.startswith("1."), reason="in NumPy 1, a float64 scalar does not change float32 arrays"
)


@BOTH
@numpy_2
def test_the_float32_guard_detects_a_float64_activation(module):
    params = guarded(small_model())
    params["blocks"][2]["mlp"]["act"] = float64_gelu
    with pytest.raises(AssertionError, match="float64"):
        module.gpt2([1, 2, 3], **params, n_head=3)


@BOTH
@numpy_2
def test_the_float32_guard_detects_a_float64_mask(module, monkeypatch):
    attention = module.attention
    monkeypatch.setattr(module, "attention", lambda q, k, v, mask: attention(q, k, v, mask + np.float64(0)))
    with pytest.raises(AssertionError, match="float64"):
        module.gpt2([1, 2, 3], **guarded(small_model()), n_head=3)


@pytest.mark.parametrize("operation", [np.add, np.multiply, np.matmul, lambda x, y: y @ x])
def test_the_float32_guard_detects_float64_operands(operation):
    """A concatenation is not guarded, but its product with the next guarded weight is."""
    with pytest.raises(AssertionError, match="float64"):
        operation(np.ones((3, 3), np.float32).view(Float32), np.ones((3, 3)))


def test_the_float32_guard_survives_reshaping_and_splitting():
    x = np.ones((2, 12), np.float32).view(Float32)
    q, k, v = np.moveaxis(x.reshape(2, 4, 3), -1, 0)
    assert all(isinstance(part, Float32) for part in (q, k, v, q.swapaxes(0, 1)))


# The parts.


@BOTH
def test_parts_do_not_change_their_arguments(module):
    params = random_params(n_vocab=50, n_ctx=150, n_embd=32, n_layer=1, std=0.3)
    x = np.random.default_rng(0).standard_normal((100, 32), dtype=np.float32)
    x.flags.writeable = False
    block = params["blocks"][0]
    for part in (module.gelu, module.softmax):
        assert part(x).shape == x.shape
    assert module.layer_norm(x, **block["ln_1"]).shape == x.shape
    assert module.linear(x, **block["mlp"]["c_fc"]).shape == (100, 128)
    assert module.ffn(x, **block["mlp"]).shape == x.shape
    assert module.attention(x, x, x, 0).shape == x.shape
    assert module.mha(x, **block["attn"], n_head=4).shape == x.shape
    assert module.transformer_block(x, **block, n_head=4).shape == x.shape


@BOTH
def test_mha_and_block_are_causal_without_a_mask(module):
    """They take the arguments of picoGPT, less its mask."""
    block = small_model()["blocks"][0]
    x = np.random.default_rng(0).standard_normal((9, 12), dtype=np.float32)
    changed = x.copy()
    changed[5, 0] += 1
    for part in (
        lambda x: module.mha(x, **block["attn"], n_head=3),
        lambda x: module.transformer_block(x, **block, n_head=3),
    ):
        np.testing.assert_allclose(part(changed)[:5], part(x)[:5], atol=1e-6)
        assert np.abs(part(changed)[5:] - part(x)[5:]).max(axis=-1).min() > 1e-5
        for n_seq in range(1, 10):
            np.testing.assert_allclose(part(x[:n_seq]), part(x)[:n_seq], atol=1e-5)


@BOTH
def test_blocks_one_by_one_equal_the_whole_model(module):
    params, ids = small_model(), [3, 1, 4, 1, 5, 9, 2, 6]
    x = params["wte"][ids] + params["wpe"][: len(ids)]
    for block in params["blocks"]:
        x = x + module.mha(module.layer_norm(x, **block["ln_1"]), **block["attn"], n_head=3)
        x = x + module.ffn(module.layer_norm(x, **block["ln_2"]), **block["mlp"])
    logits = module.layer_norm(x, **params["ln_f"]) @ params["wte"].T
    np.testing.assert_allclose(logits, module.gpt2(ids, **params, n_head=3), atol=1e-5)
    y = params["wte"][ids] + params["wpe"][: len(ids)]
    for block in params["blocks"]:
        y = module.transformer_block(y, **block, n_head=3)
    np.testing.assert_allclose(y, x, atol=1e-5)


@BOTH
def test_the_activation_travels_in_the_params(module):
    params, ids = small_model(), [1, 2, 3]
    logits = module.gpt2(ids, **params, n_head=3)
    for block in params["blocks"]:
        block["mlp"]["act"] = module.gelu
    assert np.array_equal(module.gpt2(ids, **params, n_head=3), logits)
    for block in params["blocks"]:
        block["mlp"]["act"] = np.zeros_like  # c_fc no longer has an effect
    without_c_fc = module.gpt2(ids, **params, n_head=3)
    params["blocks"][0]["mlp"]["c_fc"]["w"] = params["blocks"][0]["mlp"]["c_fc"]["w"] * 2
    assert np.array_equal(module.gpt2(ids, **params, n_head=3), without_c_fc)
    assert np.abs(without_c_fc - logits).max() > 0.1


@BOTH
def test_biases_and_eps_are_optional_params(module):
    """A layer without "b" has no bias, and eps stands beside g and b."""
    params, ids = small_model(), [1, 2, 3]
    params["blocks"][1]["mlp"]["c_fc"]["b"] = np.zeros(48, np.float32)
    logits = module.gpt2(ids, **params, n_head=3)
    del params["blocks"][1]["mlp"]["c_fc"]["b"]
    assert np.array_equal(module.gpt2(ids, **params, n_head=3), logits)
    params["ln_f"]["eps"] = 1e-5
    assert np.array_equal(module.gpt2(ids, **params, n_head=3), logits)
    params["ln_f"]["eps"] = 0.5
    assert np.abs(module.gpt2(ids, **params, n_head=3) - logits).max() > 0.01
