"""The forward pass against transformers, against plain loops, and against what must hold for any GPT-2."""

import ast
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from random_params import random_params

import gpt2
import gpt2_pico
from batch import generate_batch
from sampling import sample
from utils import MODELS_DIR, load_encoder_hparams_and_params, missing_files

BOTH = pytest.mark.parametrize("module", [gpt2, gpt2_pico], ids=["gpt2", "gpt2_pico"])


def small_model(seed=0):
    return random_params(n_vocab=50, n_ctx=24, n_embd=12, n_layer=3, std=0.3, seed=seed)


# Against transformers.


@BOTH
def test_logits_are_those_of_transformers(module, demo, demo_logits):
    _, hparams, params = demo
    logits = [module.gpt2(ids, **params, n_head=hparams["n_head"]) for ids in demo_logits["prompts"]]
    every = np.concatenate(logits)
    logsumexp = np.log(np.sum(np.exp(every.astype(np.float64)), axis=-1))
    assert np.abs(every[:, demo_logits["columns"]] - demo_logits["column_logits"]).max() <= 1e-4
    assert np.abs(logsumexp - demo_logits["logsumexp"]).max() <= 1e-4
    assert np.abs(np.stack([rows[-1] for rows in logits]) - demo_logits["last_logits"]).max() <= 1e-4


def test_the_prompts_are_many_and_of_all_lengths(demo_logits):
    assert len(demo_logits["prompts"]) == 20
    assert demo_logits["lengths"].min() == 1
    assert demo_logits["lengths"].max() == 256


@BOTH
def test_a_batch_gives_the_logits_of_its_rows(module, demo, demo_logits):
    _, hparams, params = demo
    rows = [n for n, length in enumerate(demo_logits["lengths"]) if length == 64]
    batch = [demo_logits["prompts"][row].tolist() for row in rows]
    assert len(batch) >= 3
    logits = module.gpt2(batch, **params, n_head=hparams["n_head"])
    assert logits.shape == (len(batch), 64, hparams["n_vocab"])
    assert np.abs(logits[:, -1] - demo_logits["last_logits"][rows]).max() <= 1e-4


def test_pico_is_the_same_model(demo, demo_logits):
    """But for rounding: what fast.py cuts is added up in another order. Each is as far from exact numbers."""
    _, hparams, params = demo
    batch = np.random.default_rng(0).integers(hparams["n_vocab"], size=(3, 50))
    for ids in [*demo_logits["prompts"], batch]:
        ours = gpt2.gpt2(ids, **params, n_head=hparams["n_head"])
        pico = gpt2_pico.gpt2(ids, **params, n_head=hparams["n_head"])
        assert np.abs(ours - pico).max() <= 3e-5


# Against plain loops, in Python's own floats.


def loop_layer_norm(values, g, b):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return [
        gain * (value - mean) / math.sqrt(variance + 1e-5) + shift
        for value, gain, shift in zip(values, g, b, strict=True)
    ]


def loop_linear(values, w, b):
    return [sum(values[i] * float(w[i, j]) for i in range(len(values))) + float(b[j]) for j in range(len(b))]


def loop_gelu(value):
    return 0.5 * value * (1 + math.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))


def loop_gpt2(ids, wte, wpe, blocks, ln_f, n_head):
    """GPT-2 one number at a time: what the arrays of gpt2.py must come to."""
    n_embd = wte.shape[1]
    head_dim = n_embd // n_head
    x = [[float(wte[id, i]) + float(wpe[n, i]) for i in range(n_embd)] for n, id in enumerate(ids)]
    for block in blocks:
        qkv = [loop_linear(loop_layer_norm(row, **block["ln_1"]), **block["attn"]["c_attn"]) for row in x]
        for query in range(len(ids)):
            gathered = []
            for head in range(n_head):
                start = head * head_dim
                q, k, v = (range(n + start, n + start + head_dim) for n in (0, n_embd, 2 * n_embd))
                scores = [
                    sum(qkv[query][i] * qkv[key][j] for i, j in zip(q, k, strict=True)) / math.sqrt(head_dim)
                    for key in range(query + 1)
                ]
                weights = [math.exp(score) for score in scores]
                for j in v:
                    total = sum(weight * qkv[key][j] for key, weight in enumerate(weights))
                    gathered.append(total / sum(weights))
            for i, value in enumerate(loop_linear(gathered, **block["attn"]["c_proj"])):
                x[query][i] += value
        for row in x:
            hidden = loop_linear(loop_layer_norm(row, **block["ln_2"]), **block["mlp"]["c_fc"])
            for i, value in enumerate(loop_linear([loop_gelu(h) for h in hidden], **block["mlp"]["c_proj"])):
                row[i] += value
    x = [loop_layer_norm(row, **ln_f) for row in x]
    return [[sum(row[i] * float(token[i]) for i in range(n_embd)) for token in wte] for row in x]


@BOTH
@pytest.mark.parametrize("n_head", [1, 2, 3, 12])
def test_arrays_come_to_what_loops_come_to(module, n_head):
    params = small_model(seed=n_head)
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    expected = np.array(loop_gpt2(ids, **params, n_head=n_head))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(module.gpt2(ids, **params, n_head=n_head), expected, atol=1e-5)


# What must hold for any GPT-2.


@BOTH
@given(seed=st.integers(0, 1000), n_seq=st.integers(2, 24), data=st.data())
def test_the_future_does_not_change_the_past(module, seed, n_seq, data):
    params = small_model(seed % 5)
    ids = np.random.default_rng(seed).integers(50, size=n_seq)
    changed = data.draw(st.integers(1, n_seq - 1))
    other = ids.copy()
    other[changed] = (other[changed] + 1) % 50
    before = module.gpt2(ids, **params, n_head=3)
    after = module.gpt2(other, **params, n_head=3)
    np.testing.assert_allclose(after[:changed], before[:changed], atol=1e-6)
    assert np.abs(after[changed:] - before[changed:]).max(axis=-1).min() > 1e-6


@given(seed=st.integers(0, 1000), n_seq=st.integers(1, 24), n_logits=st.integers(1, 24))
def test_n_logits_are_the_last(seed, n_seq, n_logits):
    params = small_model(seed % 5)
    ids = np.random.default_rng(seed).integers(50, size=(2, n_seq))
    everything = gpt2.gpt2(ids, **params, n_head=3)
    kept = gpt2.gpt2(ids, **params, n_head=3, n_logits=n_logits)
    assert kept.shape == (2, min(n_seq, n_logits), 50)
    np.testing.assert_allclose(kept, everything[:, -n_logits:], atol=1e-5)


class Float32(np.ndarray):
    """An array that fails as soon as any array computed from it is not float32 (or, as a mask is, bool)."""

    def __array_finalize__(self, obj):
        assert self.dtype in (np.float32, np.bool_), self.dtype


def guarded(tree):
    if isinstance(tree, dict):
        return {name: guarded(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [guarded(value) for value in tree]
    return tree.view(Float32)


def test_the_guard_against_float64_sees_one():
    with pytest.raises(AssertionError, match="float64"):
        np.ones(3, np.float32).view(Float32) * np.ones(3)


@pytest.mark.parametrize("n_past", [0, 5, 70])
@pytest.mark.parametrize("n_seq", [1, 2, 4, 8, 20, 40, 70])
@pytest.mark.parametrize("n_batch", [1, 4])
def test_work_that_is_cut_comes_to_the_same(n_batch, n_seq, n_past):
    """A model large enough that fast.py cuts; its rows begin at different places, padded."""
    params = guarded(random_params(n_vocab=50, n_ctx=150, n_embd=32, n_layer=2, std=0.3))
    ids = np.random.default_rng(0).integers(50, size=(n_batch, n_past + n_seq))
    n_pad = np.arange(n_batch)[:, None] % (n_past + 1)
    cache = gpt2.new_cache(params, 4, n_batch)
    if n_past:
        gpt2.gpt2(ids[:, :n_past], **params, n_head=4, cache=cache, n_pad=n_pad)
    logits = gpt2.gpt2(ids[:, n_past:], **params, n_head=4, cache=cache, n_past=n_past, n_pad=n_pad)
    for row, pad in enumerate(n_pad[:, 0]):
        alone = gpt2_pico.gpt2(ids[row, pad:], **params, n_head=4)[-n_seq:]
        np.testing.assert_allclose(logits[row], alone, atol=3e-5)


def test_the_parts_leave_their_arguments_as_they_are():
    params = random_params(n_vocab=50, n_ctx=150, n_embd=32, n_layer=1, std=0.3)
    x = np.random.default_rng(0).standard_normal((100, 32), dtype=np.float32)
    x.flags.writeable = False
    block = params["blocks"][0]
    for part in (gpt2.gelu, gpt2.softmax):
        assert part(x).shape == x.shape
    assert gpt2.layer_norm(x, **block["ln_1"]).shape == x.shape
    assert gpt2.linear(x, **block["mlp"]["c_fc"]).shape == (100, 128)
    assert gpt2.ffn(x, **block["mlp"]).shape == x.shape
    assert gpt2.attention(x, x, x, 0).shape == x.shape
    assert gpt2.mha(x, **block["attn"], n_head=4).shape == x.shape
    assert gpt2.transformer_block(x, **block, n_head=4).shape == x.shape


@BOTH
@pytest.mark.parametrize("inputs", [[1, 2, 3], [[1, 2, 3], [4, 5, 6]]], ids=["one", "batch"])
def test_every_array_stays_float32(module, inputs):
    logits = module.gpt2(inputs, **guarded(small_model()), n_head=3)
    assert isinstance(logits, Float32)
    assert logits.dtype == np.float32


@BOTH
@pytest.mark.parametrize("n_seq", [1, 24])
def test_one_token_and_a_full_context_fit(module, n_seq):
    assert module.gpt2([7] * n_seq, **small_model(), n_head=3).shape == (n_seq, 50)


@BOTH
def test_one_token_more_than_the_context_is_an_error(module):
    with pytest.raises(ValueError, match="24"):
        module.gpt2([7] * 25, **small_model(), n_head=3)


# generate.


def test_greedy_ids_are_those_of_transformers(demo):
    """50 prompts and 100 tokens for each, see data/make_demo_greedy.py; 3 of them also one by one."""
    _, hparams, params = demo
    with np.load(ROOT / "tests" / "data" / "demo_greedy.npz") as file:
        prompts = np.split(file["ids"], np.cumsum(file["lengths"])[:-1])
        continuations = file["continuations"].tolist()
    assert np.shape(continuations) == (50, 100)
    texts = [[] for _ in prompts]
    for row, id, _ in generate_batch(prompts, params, hparams["n_head"], 100):
        texts[row].append(id)
    assert texts == continuations
    for prompt, continuation in list(zip(prompts, continuations, strict=True))[:3]:
        assert list(gpt2.generate(prompt, params, hparams["n_head"], 100)) == continuation


@pytest.fixture
def forward_passes(monkeypatch):
    """A list of (shape of the inputs, shape of the logits) of each call of gpt2."""
    calls = []
    forward_pass = gpt2.gpt2

    def recorded(inputs, **kwargs):
        logits = forward_pass(inputs, **kwargs)
        calls.append((np.shape(inputs), logits.shape))
        return logits

    monkeypatch.setattr(gpt2, "gpt2", recorded)
    return calls


def test_generate_takes_the_likeliest_token_each_time():
    params, ids = small_model(), [1, 2, 3]
    for id in gpt2.generate([1, 2, 3], params, 3, 10):
        logits = loop_gpt2(ids, **params, n_head=3)[-1]
        assert id == logits.index(max(logits))
        ids.append(id)
    assert len(ids) == 13


def test_generate_leaves_the_list_of_its_caller_alone():
    inputs = [1, 2, 3]
    assert len(list(gpt2.generate(inputs, small_model(), 3, 5))) == 5
    assert inputs == [1, 2, 3]


def test_generate_yields_each_id_as_soon_as_it_is_known():
    params = small_model()
    ids = gpt2.generate([1, 2, 3], params, 3, 10)
    next(ids)
    del params["blocks"]  # from now on nothing can be computed
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'blocks'"):
        next(ids)


def test_generate_computes_each_position_once_and_the_logits_of_the_last_only(forward_passes):
    assert len(list(gpt2.generate([1, 2, 3], small_model(), 3, 5))) == 5
    assert forward_passes == [((3,), (1, 50)), *[((1,), (1, 50))] * 4]


@pytest.mark.parametrize("inputs", [[1, 2, 3], (1, 2, 3), np.array([1, 2, 3])])
def test_generate_takes_lists_tuples_and_arrays(inputs):
    ids = list(gpt2.generate(inputs, small_model(), 3, 5))
    assert ids == list(gpt2.generate([1, 2, 3], small_model(), 3, 5))
    assert all(type(id) is int for id in ids)


@pytest.mark.parametrize("inputs", [[], [50], [-1], [1, 2, 1000]])
def test_generate_refuses_a_prompt_that_is_none(inputs):
    with pytest.raises(ValueError, match="ids from 0 to 49"):
        next(gpt2.generate(inputs, small_model(), 3, 1))


def test_generate_refuses_values_out_of_range():
    with pytest.raises(ValueError, match="temperature"):
        next(gpt2.generate([1], small_model(), 3, 1, temperature=-1))


def test_generate_ends_before_the_stop_id():
    params = small_model()
    ids = list(gpt2.generate([1, 2, 3], params, 3, 10))
    assert ids[0] != ids[4]
    assert list(gpt2.generate([1, 2, 3], params, 3, 10, stop_id=ids[4])) == ids[: ids.index(ids[4])]


def test_generate_draws_what_sample_draws_from_the_logits_of_the_whole_text():
    params, ids = small_model(), [1, 2, 3]
    how = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2}
    rng = np.random.default_rng(7)
    for id in gpt2.generate([1, 2, 3], params, 3, 20, seed=7, **how):
        assert id == sample(gpt2.gpt2(ids, **params, n_head=3)[-1], **how, previous=ids, rng=rng)
        ids.append(id)
    assert len(ids) == 23


def test_the_same_seed_draws_the_same_text():
    texts = [list(gpt2.generate([1], small_model(), 3, 20, temperature=1, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_generate_fills_the_context_exactly(forward_passes):
    """24 tokens fit, and the logits of the last of them give one more."""
    assert len(list(gpt2.generate([1] * 4, small_model(), 3, 21))) == 21
    assert forward_passes == [((4,), (1, 50)), *[((1,), (1, 50))] * 20]


def test_a_full_context_goes_on_from_its_newest_half(forward_passes):
    params, ids, context = small_model(), [1, 2, 3, 4], [1, 2, 3, 4]
    with pytest.warns(UserWarning, match="the context of 24 tokens is full: its newest half is kept"):
        generated = list(gpt2.generate(ids, params, 3, 80))
    n_computed = [shape[0] for shape, _ in forward_passes]
    assert n_computed == [4, *[1] * 20, *([13] + [1] * 11) * 4, 13, *[1] * 10]
    for id in generated:
        if len(context) == 25:
            context = context[12:]
        logits = gpt2.gpt2(context, **params, n_head=3)[-1]
        assert id == np.argmax(logits)
        context.append(id)
    assert ids == [1, 2, 3, 4]


def test_of_a_prompt_longer_than_the_context_the_end_is_used():
    params, ids = small_model(), [n % 50 for n in range(100)]
    with pytest.warns(UserWarning, match="more than the 24 tokens"):
        generated = list(gpt2.generate(ids, params, 3, 1))
    assert generated == list(gpt2.generate(ids[-24:], params, 3, 1))
    assert generated[0] == np.argmax(gpt2.gpt2(ids[-24:], **params, n_head=3)[-1])


# The cache.


@given(seed=st.integers(0, 1000), n_batch=st.integers(0, 4), n_seq=st.integers(1, 24), data=st.data())
def test_a_text_in_pieces_has_the_logits_of_the_whole(seed, n_batch, n_seq, data):
    """n_batch 0 stands for a text without the axis of a batch."""
    params = small_model(seed % 5)
    shape = (n_batch, n_seq) if n_batch else (n_seq,)
    ids = np.random.default_rng(seed).integers(50, size=shape)
    cuts = sorted(data.draw(st.sets(st.integers(1, n_seq)))) if n_seq > 1 else []
    n_slots = data.draw(st.integers(n_seq, 24))
    cache = gpt2.new_cache(params, 3, *shape[:-1], n_slots=n_slots)
    pieces = [
        gpt2.gpt2(ids[..., start:end], **params, n_head=3, cache=cache, n_past=start)
        for start, end in itertools.pairwise([0, *cuts, n_seq])
        if start < end
    ]
    whole = gpt2.gpt2(ids, **params, n_head=3)
    np.testing.assert_allclose(np.concatenate(pieces, axis=-2), whole, atol=1e-4)


@given(
    seed=st.integers(0, 1000), lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5), data=st.data()
)
def test_padding_does_not_change_a_row(seed, lengths, data):
    """Texts of different lengths in a batch, whole or as a prompt and one token after the other."""
    params, rng = small_model(seed % 5), np.random.default_rng(seed)
    n_seq = max(lengths) + data.draw(st.integers(0, 3))
    n_pad = np.array([[n_seq - length] for length in lengths])
    ids = rng.integers(50, size=(len(lengths), n_seq + 5))
    whole = gpt2.gpt2(ids, **params, n_head=3, n_pad=n_pad)
    cache = gpt2.new_cache(params, 3, len(lengths))
    pieces = [gpt2.gpt2(ids[:, :n_seq], **params, n_head=3, cache=cache, n_pad=n_pad)]
    for n in range(n_seq, n_seq + 5):
        pieces.append(gpt2.gpt2(ids[:, [n]], **params, n_head=3, cache=cache, n_past=n, n_pad=n_pad))
    in_pieces = np.concatenate(pieces, axis=1)
    for row, n in enumerate(n_pad[:, 0]):
        alone = gpt2.gpt2(ids[row, n:], **params, n_head=3)
        np.testing.assert_allclose(whole[row, n:], alone, atol=1e-4)
        np.testing.assert_allclose(in_pieces[row, n:], alone, atol=1e-4)


def test_nothing_but_the_new_slots_of_the_cache_is_written():
    params = small_model()
    cache = gpt2.new_cache(params, 3)
    cache[:] = 7
    gpt2.gpt2([1, 2, 3], **params, n_head=3, cache=cache, n_past=5)
    assert cache.shape == (3, 2, 3, 24, 4)
    assert np.all(cache[..., :5, :] == 7)
    assert np.all(cache[..., 5:8, :] != 7)
    assert np.all(cache[..., 8:, :] == 7)


@pytest.mark.parametrize(("n_past", "n_seq", "n_slots"), [(24, 1, 24), (20, 5, 24), (0, 11, 10), (10, 1, 10)])
def test_what_does_not_fit_in_the_cache_is_an_error(n_past, n_seq, n_slots):
    params = small_model()
    cache = gpt2.new_cache(params, 3, n_slots=n_slots)
    with pytest.raises(ValueError, match=f"no room for {n_past + n_seq} tokens"):
        gpt2.gpt2([1] * n_seq, **params, n_head=3, cache=cache, n_past=n_past)


def test_tokens_before_without_a_cache_are_an_error():
    with pytest.raises(ValueError, match=r"no room for 2 tokens: .* n_past needs a cache"):
        gpt2.gpt2([1], **small_model(), n_head=3, n_past=1)


def test_a_cache_longer_than_the_context_does_not_lengthen_the_context():
    params = small_model()
    cache = gpt2.new_cache(params, 3, n_slots=30)
    with pytest.raises(ValueError, match="n_ctx is 24"):
        gpt2.gpt2([1], **params, n_head=3, cache=cache, n_past=24)


# score.


@pytest.mark.parametrize("stride", [None, 1, 5, 12, 23, 24])
@pytest.mark.parametrize("n_seq", [2, 24, 25, 26, 60])
def test_scores_are_what_a_window_for_each_token_says(n_seq, stride):
    """In a window that ends with the token, and begins where that of `score` does, by its description."""
    params = small_model()
    ids = np.random.default_rng(n_seq).integers(50, size=n_seq)
    scores = gpt2.score(ids, params, 3, stride)
    assert scores.shape == (n_seq - 1,)
    assert scores.dtype == np.float64
    for n, log_prob in enumerate(scores, 1):
        last = n if n <= 24 else min(24 + -(-(n - 24) // (stride or 12)) * (stride or 12), n_seq - 1)
        context = ids[max(0, last - 24) : n] if n > 24 else ids[:n]
        logits = gpt2.gpt2(context, **params, n_head=3)[-1].astype(np.float64)
        assert log_prob == pytest.approx(logits[ids[n]] - math.log(math.fsum(np.exp(logits))), abs=1e-5)


@pytest.mark.parametrize("n_ctx", [1, 5])
def test_the_window_of_any_context_moves_on(n_ctx):
    params = random_params(n_vocab=50, n_ctx=n_ctx, n_embd=12, n_layer=1, std=0.3)
    default = gpt2.score(range(20), params, 3)
    assert default.tolist() == gpt2.score(range(20), params, 3, stride=(n_ctx + 1) // 2).tolist()


def test_each_window_s_scores_are_float64_sums():
    """In float32 the sum of 50,000 equal terms would be off by more than this."""
    params = random_params(n_vocab=50_000, n_ctx=4, n_embd=3, n_layer=1, std=1e-6)
    (scores,) = gpt2.score_windows([1, 2, 3], params, 3)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, -math.log(50_000), rtol=1e-7)


def test_a_text_of_one_token_has_no_scores():
    assert gpt2.score([1], small_model(), 3).shape == (0,)


def test_scores_of_very_large_logits_are_finite(demo):
    _, hparams, params = demo
    params = params | {"wte": params["wte"] * 1000}
    assert np.isfinite(gpt2.score([1, 2, 3], params, hparams["n_head"])).all()


@pytest.mark.parametrize("stride", [0, -1, 25])
def test_a_stride_out_of_range_is_an_error(stride):
    with pytest.raises(ValueError, match="stride must be from 1 to 24"):
        gpt2.score([1, 2, 3], small_model(), 3, stride)


@pytest.mark.parametrize("ids", [[1, 50], [-1, 1]])
def test_score_refuses_ids_that_are_none(ids):
    with pytest.raises(ValueError, match="ids must be from 0 to 49"):
        gpt2.score(ids, small_model(), 3)


# The published outputs of the real model, where it is.


@pytest.fixture(scope="module")
def gpt2_124M():
    if missing_files(MODELS_DIR / "124M"):
        pytest.skip("models/124M is not here: python gpt2.py --model_size=124M downloads it")
    return load_encoder_hparams_and_params("124M")


def test_published_text_of_124M(gpt2_124M):
    encoder, hparams, params = gpt2_124M
    ids = encoder.encode("Alan Turing theorized that computers would one day become")
    text = encoder.decode(list(gpt2.generate(ids, params, hparams["n_head"], 40)))
    assert text == (
        " the most powerful machines on the planet.\n\nThe computer is a machine that can perform complex "
        "calculations, and it can perform these calculations in a way that is very similar to the human "
        "brain.\n"
    )


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [
        ("Hello, my dog is a little", " bit of a mess. I'm not sure if he's going"),
        ("Today, I", "'m going to be doing a lot of research on this. I"),
    ],
)
def test_published_continuations_of_124M(gpt2_124M, prompt, continuation):
    encoder, hparams, params = gpt2_124M
    n_tokens = len(encoder.encode(continuation))
    ids = gpt2.generate(encoder.encode(prompt), params, hparams["n_head"], n_tokens)
    assert encoder.decode(list(ids)) == continuation


# " was found in a field near the intersection of West and West Streets"
GOES_ON = [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262]


@pytest.mark.parametrize(
    ("inputs", "continuation"),
    [
        ([464, 3290], [*GOES_ON, 13, 198, 198, 464, 3290]),
        ([100, 200, 300], ([84, 12, 75] * 6)[:17]),
    ],
)
def test_published_ids_of_124M(gpt2_124M, inputs, continuation):
    _, hparams, params = gpt2_124M
    assert list(gpt2.generate(inputs, params, hparams["n_head"], len(continuation))) == continuation


# The files themselves.


def lines_of_forward_pass(path):
    """From `def gelu` to the end of `gpt2`, without blank lines, comment lines and docstrings."""
    source = path.read_text(encoding="utf-8")
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    docstrings = {
        line
        for function in functions.values()
        if ast.get_docstring(function)
        for line in range(function.body[0].lineno, function.body[0].end_lineno + 1)
    }
    lines = source.splitlines()
    first, last = functions["gelu"].lineno, functions["gpt2"].end_lineno
    code = [n for n in range(first, last + 1) if n not in docstrings and lines[n - 1].strip()]
    return sum(not lines[n - 1].strip().startswith("#") for n in code)


def test_the_forward_pass_is_short():
    assert lines_of_forward_pass(ROOT / "gpt2.py") <= 40
    assert len((ROOT / "gpt2.py").read_text(encoding="utf-8").splitlines()) <= 320
    assert lines_of_forward_pass(ROOT / "gpt2_pico.py") <= 30
    assert len((ROOT / "gpt2_pico.py").read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize(
    ("module", "modules"), [("gpt2", {"gpt2", "sampling", "fast"}), ("gpt2_pico", {"gpt2_pico"})]
)
def test_import_needs_numpy_alone(module, modules):
    code = f"import sys, numpy; before = set(sys.modules); import {module}; print(set(sys.modules) - before)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(result.stdout) == modules
