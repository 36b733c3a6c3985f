"""Looking ahead changes no token, and saves passes of the model where a text repeats itself."""

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from random_params import random_params

import lookup
from gpt2 import generate
from lookup import generate_greedily


@pytest.fixture
def passes(monkeypatch):
    """The number of tokens in each pass of the model, as they are made."""
    sizes = []

    def counted(inputs, **keywords):
        sizes.append(len(inputs))
        return model(inputs, **keywords)

    model = lookup.gpt2
    monkeypatch.setattr(lookup, "gpt2", counted)
    return sizes


def test_the_ids_are_those_that_transformers_generates(demo):
    """10 of the 50 prompts that test_gpt2.py has, 100 tokens for each, see data/make_demo_greedy.py."""
    _, hparams, params = demo
    with np.load(ROOT / "tests" / "data" / "demo_greedy.npz") as file:
        prompts = np.split(file["ids"], np.cumsum(file["lengths"])[:-1])
        continuations = file["continuations"].tolist()
    for prompt, expected in list(zip(prompts, continuations, strict=True))[::5]:
        assert list(generate_greedily(prompt, params, hparams["n_head"], 100)) == expected


@pytest.mark.parametrize("n_tokens", [1, 2, 30, 300])
@pytest.mark.parametrize("text", ["a b c d a b c", "Once upon a time", "no no no no no no", "x"])
@pytest.mark.filterwarnings("ignore:the context of 256 tokens is full")
def test_the_ids_are_those_of_generate(demo, text, n_tokens):
    encoder, hparams, params = demo
    ids = encoder.encode(text)
    expected = list(generate(ids, params, hparams["n_head"], n_tokens))
    assert list(generate_greedily(ids, params, hparams["n_head"], n_tokens)) == expected


@given(
    st.integers(0, 10), st.lists(st.integers(0, 4), min_size=1, max_size=24), st.integers(0, 60), st.data()
)
@settings(max_examples=50)
@pytest.mark.filterwarnings("ignore:the context of 24 tokens is full")
def test_the_ids_are_those_of_generate_for_any_model(seed, prompt, n_tokens, data):
    params = random_params(n_vocab=5, n_ctx=24, n_embd=12, n_layer=2, std=0.3, seed=seed)
    stop_id = data.draw(st.sampled_from([None, 0, 1]))
    expected = list(generate(prompt, params, 3, n_tokens, stop_id=stop_id))
    assert list(generate_greedily(prompt, params, 3, n_tokens, stop_id=stop_id)) == expected


def test_it_ends_at_the_stop_id_and_leaves_the_prompt_as_it_was(demo):
    _, hparams, params = demo
    prompt = [5, 6, 7]
    first, second = generate(prompt, params, hparams["n_head"], 2)
    assert list(generate_greedily(prompt, params, hparams["n_head"], 9, stop_id=second)) == [first]
    assert prompt == [5, 6, 7]


def test_where_the_text_repeats_itself_it_takes_fewer_passes(demo, passes):
    _, hparams, params = demo
    ids = list(generate_greedily([5, 6, 7], params, hparams["n_head"], 200))
    assert len(ids) == 200
    assert len(passes) < 100


def test_wrong_guesses_are_few(passes, monkeypatch):
    """A text in which the same three tokens go on differently each time."""
    n_tokens = 400
    wanted = np.random.default_rng(0).integers(3, size=n_tokens + 10)

    def model(inputs, n_past, n_logits, **_):
        passes.append(len(inputs))
        next_ids = wanted[n_past : n_past + len(inputs)][-n_logits:]
        return np.eye(3, dtype=np.float32)[next_ids]

    monkeypatch.setattr(lookup, "gpt2", model)
    params = random_params(n_vocab=3, n_ctx=512, n_embd=12, n_layer=1, std=1)
    ids = list(generate_greedily([0], params, 3, n_tokens))
    assert ids == wanted[:n_tokens].tolist()
    n_checks = sum(size > 1 for size in passes)
    assert n_checks > 5
    assert len(passes) + n_checks * lookup.COST <= 1.05 * n_tokens + lookup.COST


def test_where_two_tokens_are_close_the_model_is_asked_again_as_generate_asks(monkeypatch):
    """With several tokens at once, rounding makes another one the best."""

    def model(inputs, n_past, n_logits, **_):
        positions = np.arange(n_past, n_past + len(inputs))[-n_logits:]
        logits = np.eye(5, dtype=np.float32)[positions % 4]
        logits[:, 4] = 1 - 1e-4 if len(inputs) == 1 else 1 + 1e-4
        return logits

    monkeypatch.setattr(lookup, "gpt2", model)
    params = random_params(n_vocab=5, n_ctx=256, n_embd=12, n_layer=1, std=1)
    assert list(generate_greedily([0], params, 3, 200)) == [n % 4 for n in range(200)]


def test_bad_ids_are_an_error(demo):
    _, hparams, params = demo
    with pytest.raises(ValueError, match="ids from 0 to 4095"):
        next(generate_greedily([4096], params, hparams["n_head"], 1))
