"""The cache, padding and prefill: a text in pieces or in a batch has the logits of the whole text."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.float32_guard import guarded
from support.random_params import random_params, small_model

import gpt2
import gpt2_pico


@given(seed=st.integers(0, 1000), n_batch=st.integers(0, 4), n_seq=st.integers(1, 24), data=st.data())
def test_a_text_in_pieces_has_the_logits_of_the_whole_text(seed, n_batch, n_seq, data):
    """n_batch 0 stands for one text without a batch axis."""
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
def test_padding_does_not_change_a_text(seed, lengths, data):
    """Texts of different lengths in a batch: computed at once, or as a prompt and five single tokens."""
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


@pytest.mark.parametrize("n_past", [0, 5, 70])
@pytest.mark.parametrize("n_seq", [1, 2, 4, 8, 20, 40, 70])
@pytest.mark.parametrize("n_batch", [1, 4])
def test_cached_and_padded_batches_equal_pico(n_batch, n_seq, n_past):
    """A model with larger matrices; each text of the batch has another amount of padding."""
    params = guarded(random_params(n_vocab=50, n_ctx=150, n_embd=32, n_layer=2, std=0.3))
    ids = np.random.default_rng(0).integers(50, size=(n_batch, n_past + n_seq))
    n_pad = np.arange(n_batch)[:, None] % (n_past + 1)
    cache = guarded(gpt2.new_cache(params, 4, n_batch))
    if n_past:
        gpt2.gpt2(ids[:, :n_past], **params, n_head=4, cache=cache, n_pad=n_pad)
    logits = gpt2.gpt2(ids[:, n_past:], **params, n_head=4, cache=cache, n_past=n_past, n_pad=n_pad)
    for row, pad in enumerate(n_pad[:, 0]):
        alone = gpt2_pico.gpt2(ids[row, pad:], **params, n_head=4)[-n_seq:]
        np.testing.assert_allclose(logits[row], alone, atol=1e-5, rtol=0)


def test_only_the_slots_of_the_new_tokens_are_written():
    params = small_model()
    cache = gpt2.new_cache(params, 3, n_slots=10)
    cache[...] = 7
    gpt2.gpt2([1, 2, 3], **params, n_head=3, cache=cache)
    before = cache.copy()
    assert np.all(cache[..., 3:, :] == 7)
    gpt2.gpt2([4, 5], **params, n_head=3, cache=cache, n_past=3)
    assert np.array_equal(cache[..., :3, :], before[..., :3, :])
    assert not np.any(cache[..., 3:5, :] == 7)
    assert np.all(cache[..., 5:, :] == 7)


@pytest.mark.parametrize("n_slots", [None, 24, 10])
def test_a_cache_has_room_for_n_slots(n_slots):
    params = small_model()
    assert gpt2.new_cache(params, 3, n_slots=n_slots).shape == (3, 2, 3, n_slots or 24, 4)
    assert gpt2.new_cache(params, 3, 5, n_slots).shape == (3, 2, 3, 5, n_slots or 24, 4)


@pytest.mark.parametrize("n_batch", [None, 2])
def test_more_tokens_than_the_cache_holds_are_rejected(n_batch):
    params = small_model()
    cache = gpt2.new_cache(params, 3, n_batch, n_slots=4)
    ids = [1, 2, 3] if n_batch is None else [[1, 2, 3]] * n_batch
    gpt2.gpt2(ids, **params, n_head=3, cache=cache)
    with pytest.raises(ValueError, match="no room for 6 tokens"):
        gpt2.gpt2(ids, **params, n_head=3, cache=cache, n_past=3)


def test_n_past_without_a_cache_is_rejected():
    with pytest.raises(ValueError, match="n_past needs a cache"):
        gpt2.gpt2([1], **small_model(), n_head=3, n_past=3)


def test_more_tokens_than_n_ctx_are_rejected_even_if_the_cache_has_room():
    params = small_model()
    cache = gpt2.new_cache(params, 3, n_slots=30)
    with pytest.raises(ValueError, match="n_ctx is 24"):
        gpt2.gpt2([1], **params, n_head=3, cache=cache, n_past=24)


# Prefill in chunks.


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 23, 24, 256])
def test_prefill_equals_one_forward_pass(chunk_size, monkeypatch):
    monkeypatch.setattr(gpt2, "CHUNK_SIZE", chunk_size)
    params = small_model()
    ids = np.random.default_rng(0).integers(50, size=24)
    cache, whole_cache = gpt2.new_cache(params, 3), gpt2.new_cache(params, 3)
    logits = gpt2.prefill(ids.tolist(), params, 3, cache)
    expected = gpt2.gpt2(ids, **params, n_head=3, cache=whole_cache)[-1]
    assert logits.shape == (50,)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(cache, whole_cache, atol=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 6, 9, 12, 256])  # 1, 2, 3, 4 tokens of each text; all
def test_prefill_of_a_padded_batch_equals_each_text_alone(chunk_size, monkeypatch):
    """The first text has more padding than a chunk has tokens."""
    monkeypatch.setattr(gpt2, "CHUNK_SIZE", chunk_size)
    params, rng = small_model(), np.random.default_rng(1)
    n_pad = np.array([[15], [0], [4]])
    ids = rng.integers(50, size=(3, 20))
    cache = gpt2.new_cache(params, 3, 3)
    logits = gpt2.prefill(ids[:, :18], params, 3, cache, n_pad=n_pad)
    continued = gpt2.prefill(ids[:, 18:], params, 3, cache, n_past=18, n_pad=n_pad)
    assert logits.shape == continued.shape == (3, 50)
    for row, n in enumerate(n_pad[:, 0]):
        alone = gpt2.gpt2(ids[row, n:], **params, n_head=3)
        np.testing.assert_allclose(logits[row], alone[-3], atol=1e-5)
        np.testing.assert_allclose(continued[row], alone[-1], atol=1e-5)


def test_prefill_reads_chunk_size_tokens_at_a_time(forward_passes, monkeypatch):
    monkeypatch.setattr(gpt2, "CHUNK_SIZE", 8)
    params = small_model()
    gpt2.prefill(range(20), params, 3, gpt2.new_cache(params, 3))
    gpt2.prefill([range(9)] * 2, params, 3, gpt2.new_cache(params, 3, 2))
    gpt2.prefill([range(2)] * 9, params, 3, gpt2.new_cache(params, 3, 9))
    texts = [((8,), (1, 50)), ((8,), (1, 50)), ((4,), (1, 50))]
    pairs = [((2, 4), (2, 1, 50)), ((2, 4), (2, 1, 50)), ((2, 1), (2, 1, 50))]
    assert forward_passes == texts + pairs + [((9, 1), (9, 1, 50))] * 2
