"""min-p and the repetition penalty, with all other filters, against their definitions; any logits."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.random_params import small_model
from support.sampling_reference import LOGITS, chi_squared, count_ids, token_probs

import gpt2
from generation.min_p_and_repetition import sample

N_DRAWS = 100_000
PREVIOUS = [3, 8, 8, 20, 31]
OPTIONS = {
    "temperature": [0.5, 1.0, 1.7],
    "top_k": [0, 1, 7],
    "top_p": [1.0, 0.6],
    "min_p": [0.0, 0.05],
    "repetition_penalty": [1.0, 1.5],
}
ALL_OPTIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


@pytest.mark.parametrize("options", ALL_OPTIONS[::7], ids=str)
def test_draws_have_the_defined_distribution(options):
    probs = token_probs(LOGITS, **options, ids=PREVIOUS)
    logits = np.broadcast_to(LOGITS, (N_DRAWS, len(LOGITS)))
    previous = np.broadcast_to(PREVIOUS, (N_DRAWS, len(PREVIOUS)))
    ids = sample(logits, previous, np.random.default_rng(1), **options)
    assert ids.shape == (N_DRAWS,)
    counts = count_ids(ids)
    assert set(counts) <= set(probs)
    assert chi_squared(counts, probs) < 4


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
def test_exactly_the_allowed_tokens_are_drawn(options):
    """All of them, except the rarest."""
    probs = token_probs(LOGITS, **options, ids=PREVIOUS)
    logits, previous = np.broadcast_to(LOGITS, (3000, len(LOGITS))), np.broadcast_to(PREVIOUS, (3000, 5))
    drawn = set(sample(logits, previous, np.random.default_rng(3), **options).tolist())
    assert drawn <= set(probs)
    assert drawn >= {token_id for token_id, prob in probs.items() if prob > 0.01}


def drawn_ids(logits, **options):
    """The set of ids that `sample` draws with 300 different seeds."""
    return {int(sample(logits, [], np.random.default_rng(seed), **options)) for seed in range(300)}


def test_min_p_applies_after_top_p():
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert drawn_ids(logits, temperature=1, top_p=0.85) == {0, 1, 2}
    assert drawn_ids(logits, temperature=1, top_p=0.85, min_p=0.6) == {0, 1}


floats = st.floats(-1e4, 1e4, width=32)
rows_of_logits = st.lists(st.lists(floats, min_size=6, max_size=6), min_size=1, max_size=4)


@given(logits=rows_of_logits, seed=st.integers(0, 99), options=st.sampled_from(ALL_OPTIONS))
def test_a_batch_draws_the_ids_of_its_rows(logits, seed, options):
    logits = np.array(logits, dtype=np.float32)
    previous = np.tile([1, 4], (len(logits), 1))
    ids = sample(logits, previous, np.random.default_rng(seed), **options)
    rng = np.random.default_rng(seed)
    assert ids.tolist() == [sample(row, [1, 4], rng, **options) for row in logits]


three_filters = st.sampled_from(
    [{name: o[name] for name in ("temperature", "top_k", "top_p")} for o in ALL_OPTIONS]
)


@given(logits=rows_of_logits, seed=st.integers(0, 99), options=three_filters)
def test_without_min_p_and_penalty_it_equals_sample_of_gpt2(logits, seed, options):
    ids = sample(logits, [[1, 4]] * len(logits), np.random.default_rng(seed), **options)
    assert ids.tolist() == gpt2.sample(logits, **options, rng=np.random.default_rng(seed)).tolist()


@given(logits=rows_of_logits, options=st.sampled_from(ALL_OPTIONS))
def test_temperature_0_is_greedy(logits, options):
    options = options | {"temperature": 0, "repetition_penalty": 1}
    ids = sample(logits, [[]] * len(logits), None, **options)
    assert ids.tolist() == np.argmax(logits, axis=-1).tolist()


def test_the_penalty_makes_tokens_less_probable_whatever_their_sign():
    def greedy(logits, ids, **options):
        return sample(np.array(logits), ids, None, **options)

    logits = [3.0, 2.9, -0.1, 0.0]
    assert greedy(logits, []) == 0
    assert greedy(logits, [0], repetition_penalty=1.1) == 1
    assert greedy(logits[2:], [0], repetition_penalty=1.1) == 1
    assert greedy([-0.1, -0.11], [0], repetition_penalty=1.2) == 1
    assert greedy([-0.11, -0.1], [0], repetition_penalty=0.5) == 0


def test_a_repeated_token_is_penalized_once():
    ids = [sample(np.array([3.0, 2.5]), [0] * n, None, repetition_penalty=1.1) for n in (1, 2, 9)]
    assert ids == [0, 0, 0]


@pytest.mark.parametrize("repetition_penalty", [1.3, 1.0])
def test_the_logits_of_the_caller_do_not_change(repetition_penalty):
    logits = LOGITS.astype(np.float64)
    logits.flags.writeable = False
    sample(logits, PREVIOUS, np.random.default_rng(0), 1.0, 5, 0.9, 0.01, repetition_penalty)
    assert np.array_equal(logits, LOGITS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, math.nan, math.inf]),
        ("top_k", [-1]),
        ("top_p", [0, -0.1, 1.1, math.nan]),
        ("min_p", [-0.1, 1.1, math.nan]),
        ("repetition_penalty", [0, -1, 1e-3, 101, math.nan, math.inf]),
    ],
)
def test_arguments_out_of_range_are_rejected(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
            sample(LOGITS, [], None, **{name: value})


@pytest.mark.parametrize("is_partial", [False, True])
def test_it_is_a_sampler_for_generate(is_partial):
    """It draws from the logits of the whole text, and penalizes the tokens of the prompt too."""
    params, ids = small_model(), [1, 2, 3]
    options = {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2}
    how = {"sampler": functools.partial(sample, **options)} if is_partial else {"sampler": sample, **options}
    rng = np.random.default_rng(7)
    for token_id in gpt2.generate([1, 2, 3], params, 3, 20, seed=7, **how):
        assert token_id == sample(gpt2.gpt2(ids, **params, n_head=3)[-1], ids, rng, **options)
        ids.append(token_id)
    assert len(ids) == 23
