"""Batches: each text equals the same text alone, and finished texts cost nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.random_params import random_params, small_model

import generation.batches
import gpt2
from generation.batches import generate_batch, text_seed
from generation.min_p_and_repetition import sample


def generate_texts(prompts, params, n_head, n_tokens, **options):
    """Run generate_batch to its end -> the new ids of each prompt."""
    texts = [[] for _ in prompts]
    for row, token_id, _ in generate_batch(prompts, params, n_head, n_tokens, **options):
        texts[row].append(token_id)
    return texts


def generate_alone(prompt, params, n_head, n_tokens, **options):
    return list(gpt2.generate(prompt, params, n_head, n_tokens, sampler=sample, **options))


def input_shapes(forward_passes):
    return [shape for shape, _ in forward_passes]


prompts_of_ids = st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=10), min_size=1, max_size=6)
sampling = st.sampled_from(
    [
        {},
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 10, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.3},
    ]
)


@settings(max_examples=50)
@given(prompts=prompts_of_ids, n_tokens=st.integers(1, 14), options=sampling, stop_id=st.integers(0, 49))
def test_texts_equal_those_generated_alone(prompts, n_tokens, options, stop_id):
    params, seeds = small_model(1), list(range(len(prompts)))
    alone = [
        generate_alone(ids, params, 3, n_tokens, stop_id=stop_id, seed=seed, **options)
        for ids, seed in zip(prompts, seeds, strict=True)
    ]
    assert generate_texts(prompts, params, 3, n_tokens, stop_id=stop_id, seeds=seeds, **options) == alone


@pytest.mark.filterwarnings(
    "ignore:the context of 24 tokens is full", "ignore:the prompt exceeds the context of 24 tokens"
)
@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), seed=st.integers(0, 99), options=sampling
)
def test_texts_beyond_the_context_equal_those_generated_alone(lengths, seed, options):
    """Each text whose context is full continues from its own newest half."""
    params, rng = small_model(2), np.random.default_rng(seed)
    prompts = [rng.integers(50, size=length).tolist() for length in lengths]
    seeds = list(range(len(prompts)))
    limits = rng.integers(2, 70, size=len(prompts))  # the number of tokens of each text
    n_tokens = [0] * len(prompts)

    def is_done(row, token_id):
        n_tokens[row] += 1
        return n_tokens[row] == limits[row]

    alone = [
        generate_alone(ids, params, 3, min(60, n), seed=seed, **options)
        for ids, seed, n in zip(prompts, seeds, limits, strict=True)
    ]
    assert generate_texts(prompts, params, 3, 60, seeds=seeds, is_done=is_done, **options) == alone


def test_texts_of_the_demo_model_equal_those_generated_alone(demo):
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
        seeds = [text_seed(5, ids) for ids in prompts]
        alone = [
            generate_alone(ids, params, hparams["n_head"], 40, seed=seed, **options)
            for ids, seed in zip(prompts, seeds, strict=True)
        ]
        assert generate_texts(prompts, params, hparams["n_head"], 40, seeds=seeds, **options) == alone
        assert alone[2] == alone[4]


def test_more_prompts_do_not_change_a_text():
    params = small_model(3)
    few = generate_texts([[1, 2], [3]], params, 3, 10, seeds=[0, 1], temperature=1)
    many = generate_texts([[1, 2], [3], [4, 5, 6]], params, 3, 10, seeds=[0, 1, 2], temperature=1)
    assert many[:2] == few


def test_a_token_comes_with_the_logits_that_it_was_drawn_from():
    params, prompts = small_model(4), [[1, 2, 3], [4], [5, 6]]
    texts = [list(prompt) for prompt in prompts]
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    for row, token_id, logits in generate_batch(prompts, params, 3, 8, seeds=range(3), temperature=1):
        alone = gpt2.gpt2(texts[row], **params, n_head=3)[-1]
        np.testing.assert_allclose(logits, alone, atol=1e-4)
        assert token_id == sample(logits, texts[row], rngs[row], temperature=1.0)
        texts[row].append(token_id)
    assert [len(text) for text in texts] == [11, 9, 10]


def test_long_prompts_of_different_lengths_are_read_in_chunks(forward_passes):
    params = random_params(n_vocab=50, n_ctx=300, n_embd=12, n_layer=2, std=0.3)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(50, size=length).tolist() for length in (280, 3, 150)]
    texts = generate_texts(prompts, params, 3, 5)
    assert input_shapes(forward_passes) == [*[(3, 85)] * 3, (3, 25), *[(3, 1)] * 4]
    assert texts == [generate_alone(ids, params, 3, 5) for ids in prompts]


# Cost.


def test_finished_texts_are_not_computed(forward_passes):
    """The first text ends after 2 tokens, the second never, the third after 4."""
    lengths = {0: 2, 2: 4}
    counts = [0, 0, 0]

    def is_done(row, token_id):
        counts[row] += 1
        return counts[row] == lengths.get(row)

    texts = generate_texts([[1], [2, 3], [4]], small_model(), 3, 6, is_done=is_done)
    assert [len(ids) for ids in texts] == [2, 6, 4]
    assert input_shapes(forward_passes) == [(3, 2), (3, 1), (2, 1), (2, 1), (1, 1), (1, 1)]


def test_after_the_last_text_nothing_is_computed(forward_passes):
    texts = generate_texts([[1], [2]], small_model(), 3, 9, is_done=lambda *_: True)
    assert [len(ids) for ids in texts] == [1, 1]
    assert input_shapes(forward_passes) == [(2, 1)]


def test_repeated_prompts_are_computed_once(forward_passes):
    params = small_model()
    texts = generate_texts([[1, 2, 3]] * 4 + [[7]], params, 3, 5, seeds=range(5), temperature=1)
    assert input_shapes(forward_passes) == [(2, 3), *[(5, 1)] * 4]
    assert texts[:4] == [
        generate_alone([1, 2, 3], params, 3, 5, seed=seed, temperature=1) for seed in range(4)
    ]


def test_only_the_last_logits_are_computed(forward_passes):
    generate_texts([[1], [2, 3]], small_model(), 3, 3)
    assert [shape for _, shape in forward_passes] == [(2, 1, 50)] * 3


def test_the_cache_has_room_for_the_requested_tokens_only(monkeypatch):
    shapes = []

    def recorded(*args, **kwargs):
        cache = gpt2.new_cache(*args, **kwargs)
        shapes.append(cache.shape)
        return cache

    monkeypatch.setattr(generation.batches, "new_cache", recorded)
    generate_texts([[1], [2, 3]], small_model(), 3, 6)
    generate_texts([[1] * 20], small_model(), 3, 4)
    assert shapes == [(3, 2, 3, 2, 8, 4), (3, 2, 3, 1, 24, 4)]


# Arguments.


def test_seeds_can_be_an_array():
    params = small_model()
    texts = generate_texts([[1], [1]], params, 3, 6, seeds=np.arange(2), temperature=1)
    assert texts == generate_texts([[1], [1]], params, 3, 6, seeds=[0, 1], temperature=1)


def test_text_seeds_differ_by_seed_prompt_and_occurrence():
    seeds = [text_seed(1, [2, 3]), text_seed(2, [2, 3]), text_seed(1, [2, 4]), text_seed(1, [2, 3], 1)]
    assert len({np.random.default_rng(seed).random() for seed in seeds}) == 4
    assert np.random.default_rng(text_seed(1, (2, 3))).random() == np.random.default_rng(seeds[0]).random()
    assert text_seed(None, [2, 3]) is None


def test_each_token_is_yielded_as_soon_as_it_is_known():
    params = small_model()
    tokens = generate_batch([[1], [2, 3]], params, 3, 10)
    assert [next(tokens)[0], next(tokens)[0]] == [0, 1]
    del params["blocks"]  # no further forward pass is possible
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'blocks'"):
        next(tokens)


def test_the_lists_of_the_caller_do_not_change():
    prompts = [[1], [2, 3]]
    generate_texts(prompts, small_model(), 3, 5)
    assert prompts == [[1], [2, 3]]


def test_no_prompts_give_no_texts():
    assert generate_texts([], small_model(), 3, 5) == []


@pytest.mark.parametrize("prompts", [[[1], []], [[1], [50]], [[-1]]])
def test_empty_prompts_and_unknown_ids_are_rejected(prompts):
    with pytest.raises(ValueError, match="ids from 0 to 49"):
        generate_texts(prompts, small_model(), 3, 5)
