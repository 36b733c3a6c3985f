"""Batches: each row is what it is alone, and what has ended costs nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_gpt2 import small_model

import batch
import gpt2
from sampling import sample


def texts_of(prompts, params, n_head, n_tokens, **options):
    """generate_batch, to its end -> the ids of each row."""
    texts = [[] for _ in prompts]
    for row, id, _ in batch.generate_batch(prompts, params, n_head, n_tokens, **options):
        texts[row].append(id)
    return texts


@pytest.fixture
def shapes(monkeypatch):
    """A list of the shape of the inputs of each call of gpt2 in a batch."""
    calls = []
    forward_pass = batch.gpt2

    def recorded(inputs, **kwargs):
        calls.append(np.shape(inputs))
        return forward_pass(inputs, **kwargs)

    monkeypatch.setattr(batch, "gpt2", recorded)
    return calls


prompts_of_ids = st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=10), min_size=1, max_size=6)
options = st.sampled_from(
    [
        {},
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 10, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.3},
    ]
)


@settings(max_examples=50)
@given(prompts=prompts_of_ids, n_tokens=st.integers(1, 14), options=options, stop_id=st.integers(0, 49))
def test_rows_are_what_they_are_alone(prompts, n_tokens, options, stop_id):
    params, seeds = small_model(1), list(range(len(prompts)))
    alone = [
        list(gpt2.generate(ids, params, 3, n_tokens, stop_id=stop_id, seed=seed, **options))
        for ids, seed in zip(prompts, seeds, strict=True)
    ]
    assert texts_of(prompts, params, 3, n_tokens, stop_id=stop_id, seeds=seeds, **options) == alone


@pytest.mark.filterwarnings(
    "ignore:the context of 24 tokens is full", "ignore:the prompt has more than the 24"
)
@settings(max_examples=20)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, 99), options=options)
def test_rows_are_what_they_are_alone_beyond_the_context(lengths, seed, options):
    """Each goes on from its own newest half, when its own context is full."""
    params, rng = small_model(2), np.random.default_rng(seed)
    prompts = [rng.integers(50, size=length).tolist() for length in lengths]
    seeds = list(range(len(prompts)))
    is_done = rng.integers(2, 70, size=len(prompts))  # the number of tokens of each row

    def ends(row, id, n_tokens=np.zeros(len(prompts), int)):  # noqa: B008  (counts)
        n_tokens[row] += 1
        return n_tokens[row] == is_done[row]

    alone = [
        list(gpt2.generate(ids, params, 3, min(60, n), seed=seed, **options))
        for ids, seed, n in zip(prompts, seeds, is_done, strict=True)
    ]
    assert texts_of(prompts, params, 3, 60, seeds=seeds, is_done=ends, **options) == alone


def test_the_demo_model_s_rows_are_what_they_are_alone(demo):
    encoder, hparams, params = demo
    texts = [
        "Once upon a time",
        "The king",
        "A",
        "Four score and seven years ago our fathers brought forth",
        "A",
    ]
    prompts = [encoder.encode(text) for text in texts]
    for options in ({}, {"temperature": 1.0, "top_p": 0.9}):
        seeds = [[5, *ids] for ids in prompts]
        alone = [
            list(gpt2.generate(ids, params, hparams["n_head"], 40, seed=seed, **options))
            for ids, seed in zip(prompts, seeds, strict=True)
        ]
        assert texts_of(prompts, params, hparams["n_head"], 40, seeds=seeds, **options) == alone
        assert alone[2] == alone[4]


def test_adding_prompts_does_not_change_the_others():
    params = small_model(3)
    few = texts_of([[1, 2], [3]], params, 3, 10, seeds=[0, 1], temperature=1)
    many = texts_of([[1, 2], [3], [4, 5, 6]], params, 3, 10, seeds=[0, 1, 2], temperature=1)
    assert many[:2] == few


def test_logits_are_those_that_the_token_was_drawn_from():
    params, prompts = small_model(4), [[1, 2, 3], [4], [5, 6]]
    texts = [list(prompt) for prompt in prompts]
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    for row, id, logits in batch.generate_batch(prompts, params, 3, 8, seeds=range(3), temperature=1):
        alone = gpt2.gpt2(texts[row], **params, n_head=3)[-1]
        np.testing.assert_allclose(logits, alone, atol=1e-4)
        assert id == sample(logits, 1.0, rng=rngs[row])
        texts[row].append(id)
    assert [len(text) for text in texts] == [11, 9, 10]


def test_rows_that_have_ended_are_not_computed(shapes):
    """The first row after 2 tokens, the second never, the third after 4."""
    lengths = {0: 2, 2: 4}
    counts = [0, 0, 0]

    def is_done(row, id):
        counts[row] += 1
        return counts[row] == lengths.get(row)

    texts = texts_of([[1], [2, 3], [4]], small_model(), 3, 6, is_done=is_done)
    assert [len(ids) for ids in texts] == [2, 6, 4]
    assert shapes == [(3, 2), (3, 1), (2, 1), (2, 1), (1, 1), (1, 1)]


def test_the_cache_has_room_for_what_is_asked_for_and_no_more(monkeypatch):
    shapes = []

    def recorded(*args, **kwargs):
        cache = gpt2.new_cache(*args, **kwargs)
        shapes.append(cache.shape)
        return cache

    monkeypatch.setattr(batch, "new_cache", recorded)
    texts_of([[1], [2, 3]], small_model(), 3, 6)
    texts_of([[1] * 20], small_model(), 3, 4)
    assert shapes == [(3, 2, 3, 2, 8, 4), (3, 2, 3, 1, 24, 4)]


def test_seeds_may_be_an_array():
    params = small_model()
    texts = texts_of([[1], [1]], params, 3, 6, seeds=np.arange(2), temperature=1)
    assert texts == texts_of([[1], [1]], params, 3, 6, seeds=[0, 1], temperature=1)


def test_when_all_rows_have_ended_nothing_is_computed(shapes):
    assert [len(ids) for ids in texts_of([[1], [2]], small_model(), 3, 9, is_done=lambda *_: True)] == [1, 1]
    assert shapes == [(2, 1)]


def test_a_prompt_that_is_there_several_times_is_computed_once(shapes):
    params = small_model()
    texts = texts_of([[1, 2, 3]] * 4 + [[7]], params, 3, 5, seeds=range(5), temperature=1)
    assert shapes == [(2, 3), *[(5, 1)] * 4]
    assert texts[:4] == [
        list(gpt2.generate([1, 2, 3], params, 3, 5, seed=seed, temperature=1)) for seed in range(4)
    ]


def test_each_token_comes_when_it_is_known():
    params = small_model()
    tokens = batch.generate_batch([[1], [2, 3]], params, 3, 10)
    assert [next(tokens)[0], next(tokens)[0]] == [0, 1]
    del params["blocks"]  # from now on nothing can be computed
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'blocks'"):
        next(tokens)


def test_the_lists_of_the_caller_are_left_alone():
    prompts = [[1], [2, 3]]
    texts_of(prompts, small_model(), 3, 5)
    assert prompts == [[1], [2, 3]]


def test_no_prompts_are_no_texts():
    assert texts_of([], small_model(), 3, 5) == []


@pytest.mark.parametrize("prompts", [[[1], []], [[1], [50]], [[-1]]])
def test_a_prompt_that_is_none_is_refused(prompts):
    with pytest.raises(ValueError, match="ids from 0 to 49"):
        texts_of(prompts, small_model(), 3, 5)
