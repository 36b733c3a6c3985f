"""The loop that writes text: its ids, its forward passes, and its limits."""

import numpy as np
import pytest
from support.greedy_continuations import greedy_continuations
from support.loop_gpt2 import loop_gpt2
from support.random_params import random_params, small_model

import gpt2
from generation.batches import generate_batch


def test_greedy_ids_equal_those_of_transformers(demo):
    """50 prompts in a batch, and three of them alone."""
    _, hparams, params = demo
    prompts, continuations = greedy_continuations()
    texts = [[] for _ in prompts]
    for row, token_id, _ in generate_batch(prompts, params, hparams["n_head"], 100):
        texts[row].append(token_id)
    assert texts == continuations
    for prompt, continuation in list(zip(prompts, continuations, strict=True))[:3]:
        assert list(gpt2.generate(prompt, params, hparams["n_head"], 100)) == continuation


def test_the_default_is_the_most_probable_token():
    params, ids = small_model(), [1, 2, 3]
    for token_id in gpt2.generate([1, 2, 3], params, 3, 10):
        logits = loop_gpt2(ids, **params, n_head=3)[-1]
        assert token_id == logits.index(max(logits))
        ids.append(token_id)
    assert len(ids) == 13


def test_the_list_of_the_caller_does_not_change():
    inputs = [1, 2, 3]
    assert len(list(gpt2.generate(inputs, small_model(), 3, 5))) == 5
    assert inputs == [1, 2, 3]


def test_each_id_is_yielded_as_soon_as_it_is_known():
    params = small_model()
    ids = gpt2.generate([1, 2, 3], params, 3, 10)
    next(ids)
    del params["blocks"]  # no further forward pass is possible
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'blocks'"):
        next(ids)


def test_each_position_is_computed_once_and_only_the_last_has_logits(forward_passes):
    assert len(list(gpt2.generate([1, 2, 3], small_model(), 3, 5))) == 5
    assert forward_passes == [((3,), (1, 50)), *[((1,), (1, 50))] * 4]


@pytest.mark.parametrize("inputs", [[1, 2, 3], (1, 2, 3), np.array([1, 2, 3])])
def test_lists_tuples_and_arrays_are_accepted(inputs):
    ids = list(gpt2.generate(inputs, small_model(), 3, 5))
    assert ids == list(gpt2.generate([1, 2, 3], small_model(), 3, 5))
    assert all(type(token_id) is int for token_id in ids)


@pytest.mark.parametrize("inputs", [[], [50], [-1], [1, 2, 1000]])
def test_empty_prompts_and_unknown_ids_are_rejected(inputs):
    with pytest.raises(ValueError, match="ids from 0 to 49"):
        next(gpt2.generate(inputs, small_model(), 3, 1))


@pytest.mark.parametrize("sampling", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}], ids=str)
def test_sampling_arguments_out_of_range_are_rejected(sampling):
    with pytest.raises(ValueError, match=f"{next(iter(sampling))} must be"):
        next(gpt2.generate([1], small_model(), 3, 1, **sampling))


@pytest.mark.parametrize("n_tokens", [0, -1])
def test_no_tokens_need_no_forward_pass(n_tokens, forward_passes):
    assert list(gpt2.generate([1], small_model(), 3, n_tokens)) == []
    assert forward_passes == []


def test_the_text_ends_before_the_stop_id():
    params = small_model()
    ids = list(gpt2.generate([1, 2, 3], params, 3, 10))
    assert ids[0] != ids[4]
    assert list(gpt2.generate([1, 2, 3], params, 3, 10, stop_id=ids[4])) == ids[: ids.index(ids[4])]


# Sampling.


def test_ids_are_sampled_from_the_logits_of_the_whole_text():
    params, ids = small_model(), [1, 2, 3]
    sampling = {"temperature": 0.8, "top_k": 20, "top_p": 0.9}
    rng = np.random.default_rng(7)
    for token_id in gpt2.generate([1, 2, 3], params, 3, 20, seed=7, **sampling):
        assert token_id == gpt2.sample(gpt2.gpt2(ids, **params, n_head=3)[-1], **sampling, rng=rng)
        ids.append(token_id)
    assert len(ids) == 23


def test_the_same_seed_gives_the_same_text():
    texts = [list(gpt2.generate([1], small_model(), 3, 20, temperature=1, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_sampler_replaces_sample():
    """Its arguments are the logits, the ids so far, one rng for the whole text, and the sampling options."""
    params, calls = small_model(), []

    def sampler(logits, ids, rng, **sampling):
        calls.append((logits.copy(), list(ids), rng, sampling))
        return np.int64(10 + len(calls))

    generated = list(
        gpt2.generate([1, 2, 3], params, 3, 4, seed=5, sampler=sampler, temperature=-1, anything="at all")
    )
    assert generated == [11, 12, 13, 14]
    assert all(type(token_id) is int for token_id in generated)
    assert len(calls) == 4
    for n, (logits, ids, rng, sampling) in enumerate(calls):
        assert ids == [1, 2, 3, *generated[:n]]
        assert logits.shape == (50,)
        np.testing.assert_allclose(logits, gpt2.gpt2(ids, **params, n_head=3)[-1], atol=1e-5)
        assert sampling == {"temperature": -1, "anything": "at all"}
        assert rng is calls[0][2]
    assert calls[0][2].random() == np.random.default_rng(5).random()


def test_a_sampler_can_choose_the_stop_id():
    ids = iter([4, 5, 6, 7])
    generated = gpt2.generate(
        [1], small_model(), 3, 9, stop_id=6, sampler=lambda logits, so_far, rng: next(ids)
    )
    assert list(generated) == [4, 5]


# The context.


def test_a_text_can_fill_the_context_exactly(forward_passes):
    """24 tokens fit, and the logits of the last of them give one more."""
    assert len(list(gpt2.generate([1] * 4, small_model(), 3, 21))) == 21
    assert forward_passes == [((4,), (1, 50)), *[((1,), (1, 50))] * 20]


def test_a_full_context_continues_from_its_newest_half(forward_passes):
    params, ids, context = small_model(), [1, 2, 3, 4], [1, 2, 3, 4]
    with pytest.warns(UserWarning, match="the context of 24 tokens is full: only its newest half is kept"):
        generated = list(gpt2.generate(ids, params, 3, 80))
    n_computed = [shape[0] for shape, _ in forward_passes]
    assert n_computed == [4, *[1] * 20, *([13] + [1] * 11) * 4, 13, *[1] * 10]
    for token_id in generated:
        if len(context) == 25:
            context = context[12:]
        logits = gpt2.gpt2(context, **params, n_head=3)[-1]
        assert token_id == np.argmax(logits)
        context.append(token_id)
    assert ids == [1, 2, 3, 4]


def test_only_the_end_of_a_too_long_prompt_is_used():
    params, ids = small_model(), [n % 50 for n in range(100)]
    with pytest.warns(UserWarning, match="the prompt exceeds the context of 24 tokens: only its end is used"):
        generated = list(gpt2.generate(ids, params, 3, 1))
    assert generated == list(gpt2.generate(ids[-24:], params, 3, 1))
    assert generated[0] == np.argmax(gpt2.gpt2(ids[-24:], **params, n_head=3)[-1])


# Long prompts.


def test_a_prompt_of_several_chunks_equals_one_forward_pass(forward_passes):
    params = random_params(n_vocab=50, n_ctx=700, n_embd=24, n_layer=3, std=0.3)
    prompt = np.random.default_rng(2).integers(50, size=600).tolist()
    n_tokens, seen = 20, []

    def sampler(logits, ids, rng):
        seen.append(logits)
        return np.argmax(logits)

    generated = list(gpt2.generate(prompt, params, 4, n_tokens, sampler=sampler))
    assert gpt2.CHUNK_SIZE == 256
    assert [shape[0] for shape, _ in forward_passes] == [256, 256, 88, *[1] * (n_tokens - 1)]
    logits = gpt2.gpt2(prompt + generated[:-1], **params, n_head=4)[len(prompt) - 1 :]
    np.testing.assert_allclose(seen, logits, atol=1e-4, rtol=0)
    assert generated == np.argmax(logits, axis=-1).tolist()
    assert generated == list(gpt2.generate(prompt, params, 4, n_tokens))
    assert len(set(generated)) > 2
