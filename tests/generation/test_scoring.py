"""Scores equal the log-probabilities of single forward passes, in every window and every chunk."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_params import random_params, small_model

import generation.scoring
import gpt2
from generation.scoring import log_softmax, score, score_windows

STRIDES = [None, 1, 5, 12, 23, 24]


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("n_seq", [2, 24, 25, 26, 60])
def test_scores_equal_one_forward_pass_per_token(n_seq, stride):
    """Each pass begins where the documented window begins, and ends before the token."""
    params = small_model()
    ids = np.random.default_rng(n_seq).integers(50, size=n_seq)
    scores = score(ids, params, 3, stride)
    assert scores.shape == (n_seq - 1,)
    assert scores.dtype == np.float64
    for n, log_prob in enumerate(scores, 1):
        last = n if n <= 24 else min(24 + -(-(n - 24) // (stride or 12)) * (stride or 12), n_seq - 1)
        context = ids[max(0, last - 24) : n] if n > 24 else ids[:n]
        logits = gpt2.gpt2(context, **params, n_head=3)[-1].astype(np.float64)
        assert log_prob == pytest.approx(logits[ids[n]] - math.log(math.fsum(np.exp(logits))), abs=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 7, 12, 23, 24])
@pytest.mark.parametrize("stride", STRIDES)
def test_scores_do_not_depend_on_the_chunk_size(stride, chunk_size, monkeypatch):
    params = small_model()
    ids = np.random.default_rng(0).integers(50, size=60)
    whole_windows = list(score_windows(ids, params, 3, stride))
    monkeypatch.setattr(generation.scoring, "CHUNK_SIZE", chunk_size)
    chunked = list(score_windows(ids, params, 3, stride))
    assert [len(window) for window in chunked] == [len(window) for window in whole_windows]
    np.testing.assert_allclose(np.concatenate(chunked), np.concatenate(whole_windows), atol=1e-5, rtol=0)


def test_windows_longer_than_a_chunk_equal_the_unchunked_forward_pass(forward_passes):
    params = random_params(n_vocab=50, n_ctx=700, n_embd=24, n_layer=3, std=0.3)
    ids = np.random.default_rng(2).integers(50, size=601)
    log_probs = log_softmax(gpt2.gpt2(ids[:-1], **params, n_head=4))
    forward_passes.clear()
    scores = score(ids, params, 4)
    assert forward_passes == [((256,), (256, 50)), ((256,), (256, 50)), ((88,), (88, 50))]
    np.testing.assert_allclose(scores, log_probs[range(600), ids[1:]], atol=1e-4, rtol=0)


def test_logits_of_already_scored_tokens_are_not_computed(forward_passes, monkeypatch):
    """The second window scores its last 5 tokens; its first chunk fills only the cache."""
    monkeypatch.setattr(generation.scoring, "CHUNK_SIZE", 10)
    score(range(30), small_model(), 3, stride=5)
    first = [((10,), (10, 50)), ((10,), (10, 50)), ((4,), (4, 50))]
    assert forward_passes == [*first, ((10,), (1, 50)), ((10,), (1, 50)), ((4,), (4, 50))]


@pytest.mark.parametrize("n_ctx", [1, 5])
def test_the_default_stride_is_half_of_any_context(n_ctx):
    params = random_params(n_vocab=50, n_ctx=n_ctx, n_embd=12, n_layer=1, std=0.3)
    default = score(range(20), params, 3)
    assert default.shape == (19,)
    assert default.tolist() == score(range(20), params, 3, stride=(n_ctx + 1) // 2).tolist()


def test_probabilities_are_summed_in_float64():
    """In float32, the sum of 50,000 equal terms has a larger error."""
    params = random_params(n_vocab=50_000, n_ctx=4, n_embd=3, n_layer=1, std=1e-6)
    (scores,) = score_windows([1, 2, 3], params, 3)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, -math.log(50_000), rtol=1e-7)


@pytest.mark.parametrize("ids", [[], [1]])
def test_a_text_of_one_token_has_no_scores(ids):
    assert score(ids, small_model(), 3).shape == (0,)


def test_scores_of_very_large_logits_are_finite(demo):
    _, hparams, params = demo
    params = params | {"wte": params["wte"] * 1000}
    assert np.isfinite(score([1, 2, 3], params, hparams["n_head"])).all()


@pytest.mark.parametrize("stride", [0, -1, 25])
def test_a_stride_out_of_range_is_rejected(stride):
    with pytest.raises(ValueError, match="stride must be from 1 to 24"):
        score([1, 2, 3], small_model(), 3, stride)


@pytest.mark.parametrize("ids", [[1, 50], [-1, 1]])
def test_score_rejects_unknown_ids(ids):
    with pytest.raises(ValueError, match="ids must be from 0 to 49"):
        score(ids, small_model(), 3)


floats = st.floats(-1e4, 1e4, width=32)


@given(logits=st.lists(st.lists(floats, min_size=6, max_size=6), min_size=1, max_size=4))
def test_log_softmax_is_the_logarithm_of_the_probabilities(logits):
    log_probs = log_softmax(np.array(logits, dtype=np.float32))
    assert log_probs.dtype == np.float64
    for row, expected in zip(log_probs, logits, strict=True):
        highest = max(expected)
        total = math.log(math.fsum(math.exp(x - highest) for x in expected))
        np.testing.assert_allclose(row, [x - highest - total for x in expected], rtol=1e-12, atol=1e-12)
