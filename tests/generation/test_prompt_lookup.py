"""Prompt lookup changes no token, and needs fewer forward passes if the text repeats itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.greedy_continuations import greedy_continuations
from support.random_params import random_params

import gpt2
from generation.prompt_lookup import MARGIN, VERIFY_COST, generate_with_lookup
from gpt2 import generate


@pytest.fixture
def replace_model(monkeypatch, request):
    """replace_model(model): all loops call it instead of `gpt2`. Returns the list of forward passes."""

    def replace_model(model):
        monkeypatch.setattr(gpt2, "gpt2", model)
        return request.getfixturevalue("forward_passes")

    return replace_model


def n_tokens_of(forward_passes):
    """The number of tokens in each forward pass."""
    return [shape[-1] for shape, _ in forward_passes]


def test_ids_equal_those_of_transformers(demo):
    """10 of the 50 prompts of test_generate.py."""
    _, hparams, params = demo
    for prompt, expected in list(zip(*greedy_continuations(), strict=True))[::5]:
        assert list(generate_with_lookup(prompt, params, hparams["n_head"], 100)) == expected


@pytest.mark.parametrize("n_tokens", [1, 2, 30, 300])
@pytest.mark.parametrize("text", ["a b c d a b c", "Once upon a time", "no no no no no no", "x"])
@pytest.mark.filterwarnings("ignore:the context of 256 tokens is full")
def test_ids_equal_those_of_generate(demo, text, n_tokens):
    encoder, hparams, params = demo
    ids = encoder.encode(text)
    expected = list(generate(ids, params, hparams["n_head"], n_tokens))
    assert list(generate_with_lookup(ids, params, hparams["n_head"], n_tokens)) == expected


@given(
    st.integers(0, 10), st.lists(st.integers(0, 4), min_size=1, max_size=24), st.integers(0, 60), st.data()
)
@settings(max_examples=50)
@pytest.mark.filterwarnings("ignore:the context of 24 tokens is full")
def test_ids_equal_those_of_generate_for_any_model(seed, prompt, n_tokens, data):
    params = random_params(n_vocab=5, n_ctx=24, n_embd=12, n_layer=2, std=0.3, seed=seed)
    stop_id = data.draw(st.sampled_from([None, 0, 1]))
    expected = list(generate(prompt, params, 3, n_tokens, stop_id=stop_id))
    assert list(generate_with_lookup(prompt, params, 3, n_tokens, stop_id=stop_id)) == expected


def test_the_text_ends_before_the_stop_id_and_the_prompt_does_not_change(demo):
    _, hparams, params = demo
    prompt = [5, 6, 7]
    first, second = generate(prompt, params, hparams["n_head"], 2)
    assert list(generate_with_lookup(prompt, params, hparams["n_head"], 9, stop_id=second)) == [first]
    assert prompt == [5, 6, 7]


def test_a_repetitive_text_needs_fewer_forward_passes(forward_passes):
    params = random_params(n_vocab=50, n_ctx=256, n_embd=12, n_layer=2, std=0.3)
    ids = list(generate_with_lookup([5, 6, 7], params, 3, 200))
    assert len(ids) == 200
    assert 1 < len(set(ids)) < 25
    assert len(forward_passes) < 100


def test_long_prompts_are_read_in_chunks(forward_passes):
    params = random_params(n_vocab=50, n_ctx=700, n_embd=12, n_layer=2, std=0.3)
    prompt = np.random.default_rng(0).integers(50, size=600).tolist()
    ids = list(generate_with_lookup(prompt, params, 3, 3))
    assert forward_passes[:3] == [((256,), (1, 50)), ((256,), (1, 50)), ((88,), (1, 50))]
    assert ids == list(generate(prompt, params, 3, 3))


def test_rejected_drafts_are_rare(replace_model):
    """In this text, the same three tokens continue differently each time."""
    n_tokens = 400
    text = np.random.default_rng(0).integers(3, size=n_tokens + 10)

    def model(inputs, n_past=0, n_logits=0, **_):
        next_ids = text[n_past : n_past + len(inputs)][-n_logits:]
        return np.eye(3, dtype=np.float32)[next_ids]

    forward_passes = replace_model(model)
    params = random_params(n_vocab=3, n_ctx=512, n_embd=12, n_layer=1, std=1)
    ids = list(generate_with_lookup([0], params, 3, n_tokens))
    assert ids == text[:n_tokens].tolist()
    n_drafts = sum(n > 1 for n in n_tokens_of(forward_passes))
    assert n_drafts > 5
    assert len(forward_passes) + n_drafts * VERIFY_COST <= 1.05 * n_tokens + VERIFY_COST


def test_a_token_is_computed_alone_if_two_logits_are_close(replace_model):
    """With several tokens at once, this model's rounding makes another token the most probable."""
    error = MARGIN / 10

    def model(inputs, n_past=0, n_logits=0, **_):
        positions = np.arange(n_past, n_past + len(inputs))[-n_logits:]
        logits = np.eye(5, dtype=np.float32)[positions % 4]
        logits[:, 4] = 1 - error if len(inputs) == 1 else 1 + error
        return logits

    forward_passes = replace_model(model)
    params = random_params(n_vocab=5, n_ctx=256, n_embd=12, n_layer=1, std=1)
    assert list(generate_with_lookup([0], params, 3, 200)) == [n % 4 for n in range(200)]
    assert max(n_tokens_of(forward_passes)) > 1


@pytest.mark.parametrize("ids", [[4096], [-1], []])
def test_empty_prompts_and_unknown_ids_are_rejected(demo, ids):
    _, hparams, params = demo
    with pytest.raises(ValueError, match="ids from 0 to 4095"):
        next(generate_with_lookup(ids, params, hparams["n_head"], 1))
