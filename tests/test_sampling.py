"""Sampling against distributions worked out token by token in Python, and what must hold for any logits.

test_against_transformers.py compares the steps with transformers' own.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling import log_softmax, sample

N_DRAWS = 100_000
LOGITS = np.random.default_rng(5).normal(size=40).astype(np.float32) * 2
PREVIOUS = [3, 8, 8, 20, 31]


def brute_force(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, previous=()):
    """The probability of each token, by the definitions, one token at a time: {id: probability}."""
    scores = {id: float(logit) for id, logit in enumerate(logits)}
    for id in set(previous):
        scores[id] *= repetition_penalty if scores[id] < 0 else 1 / repetition_penalty
    weights = {id: math.exp(score / temperature) for id, score in scores.items()}
    if top_k:
        weights = {id: weights[id] for id in sorted(weights, key=weights.get)[-top_k:]}
    kept, total = {}, math.fsum(weights.values())
    for id in sorted(weights, key=weights.get, reverse=True):
        if math.fsum(kept.values()) < top_p * total:
            kept[id] = weights[id]
    kept = {id: weight for id, weight in kept.items() if weight >= min_p * max(kept.values())}
    return {id: weight / math.fsum(kept.values()) for id, weight in kept.items()}


OPTIONS = {
    "temperature": [0.5, 1.0, 1.7],
    "top_k": [0, 1, 7],
    "top_p": [1.0, 0.6],
    "min_p": [0.0, 0.05],
    "repetition_penalty": [1.0, 1.5],
}
ALL_OPTIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


def chi_squared(counts, probs):
    """Pearson's statistic, less its degrees of freedom, in units of its standard deviation.

    Tokens that are expected fewer than 10 times are counted together, as the approximation needs.
    """
    expected = {id: prob * sum(counts.values()) for id, prob in probs.items()}
    rare = [id for id in expected if expected[id] < 10]
    observed = {id: counts.get(id, 0) for id in expected if id not in rare}
    expected_rare, observed_rare = sum(expected[id] for id in rare), sum(counts.get(id, 0) for id in rare)
    statistic = sum((observed[id] - expected[id]) ** 2 / expected[id] for id in observed)
    degrees = len(observed) - 1
    if expected_rare > 0:
        statistic += (observed_rare - expected_rare) ** 2 / expected_rare
        degrees += 1
    return (statistic - degrees) / math.sqrt(2 * degrees) if degrees else statistic


@pytest.mark.parametrize("options", ALL_OPTIONS[::7], ids=str)
def test_draws_have_the_distribution_of_the_definitions(options):
    probs = brute_force(LOGITS, **options, previous=PREVIOUS)
    logits = np.broadcast_to(LOGITS, (N_DRAWS, len(LOGITS)))
    previous = np.broadcast_to(PREVIOUS, (N_DRAWS, len(PREVIOUS)))
    ids = sample(logits, **options, previous=previous, rng=np.random.default_rng(1))
    assert ids.shape == (N_DRAWS,)
    counts = dict(zip(*np.unique(ids, return_counts=True), strict=True))
    assert set(counts) <= set(probs)
    assert chi_squared(counts, probs) < 4


def test_chi_squared_sees_a_distribution_that_is_slightly_off():
    probs = brute_force(LOGITS)
    ids = np.random.default_rng(2).choice(list(probs), p=list(probs.values()), size=N_DRAWS)
    counts = dict(zip(*np.unique(ids, return_counts=True), strict=True))
    assert chi_squared(counts, probs) < 4
    assert chi_squared(counts, brute_force(LOGITS, temperature=1.02)) > 4


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
def test_every_token_that_may_be_drawn_is_and_no_other(options):
    """With enough draws of the tokens that are not too rare."""
    probs = brute_force(LOGITS, **options, previous=PREVIOUS)
    rng = np.random.default_rng(3)
    logits = np.broadcast_to(LOGITS, (3000, len(LOGITS)))
    drawn = set(sample(logits, **options, previous=np.broadcast_to(PREVIOUS, (3000, 5)), rng=rng).tolist())
    assert drawn <= set(probs)
    assert drawn >= {id for id, prob in probs.items() if prob > 0.01}


def test_the_token_that_crosses_top_p_is_kept():
    logits = np.log([0.1, 0.5, 0.15, 0.25])
    drawn = {int(sample(logits, 1.0, top_p=0.6, rng=np.random.default_rng(seed))) for seed in range(200)}
    assert drawn == {1, 3}
    drawn = {int(sample(logits, 1.0, top_p=0.49, rng=np.random.default_rng(seed))) for seed in range(200)}
    assert drawn == {1}


def test_the_steps_come_in_their_order():
    """top_p looks at what temperature and top_k leave, and min_p at what top_p leaves."""
    logits = np.log([0.4, 0.3, 0.2, 0.1])

    def drawn(**options):
        return {int(sample(logits, rng=np.random.default_rng(seed), **options)) for seed in range(300)}

    assert drawn(temperature=1, top_p=0.5) == {0, 1}
    assert drawn(temperature=1, top_p=0.5, top_k=2) == {0}
    assert drawn(temperature=0.25, top_p=0.5) == {0}
    assert drawn(temperature=1, top_p=0.85, min_p=0.6) == {0, 1}


floats = st.floats(-1e4, 1e4, width=32)
rows_of_logits = st.lists(st.lists(floats, min_size=6, max_size=6), min_size=1, max_size=4)


@given(logits=rows_of_logits, seed=st.integers(0, 99), options=st.sampled_from(ALL_OPTIONS))
def test_a_batch_draws_what_its_rows_draw(logits, seed, options):
    logits = np.array(logits, dtype=np.float32)
    previous = np.tile([1, 4], (len(logits), 1))
    ids = sample(logits, **options, previous=previous, rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    assert ids.tolist() == [sample(row, **options, previous=[1, 4], rng=rng) for row in logits]


@given(logits=rows_of_logits, options=st.sampled_from(ALL_OPTIONS))
def test_temperature_0_takes_the_likeliest(logits, options):
    ids = sample(logits, **(options | {"temperature": 0, "repetition_penalty": 1}))
    assert ids.tolist() == np.argmax(logits, axis=-1).tolist()


@given(logits=rows_of_logits, temperature=st.floats(1e-320, 1e300))
def test_any_temperature_draws_a_token_that_is_there(logits, temperature):
    ids = sample(logits, temperature=temperature, rng=np.random.default_rng(0))
    assert np.all((ids >= 0) & (ids < 6))
    if temperature < 1e-9:
        highest = np.max(logits, axis=-1)
        assert np.all(np.take_along_axis(np.array(logits), ids[:, None], axis=-1)[:, 0] == highest)


def test_the_penalty_makes_tokens_less_likely_whatever_their_sign():
    logits = np.array([3.0, 2.9, -0.1, 0.0])
    assert sample(logits) == 0
    assert sample(logits, repetition_penalty=1.1, previous=[0]) == 1
    assert sample(logits[2:], repetition_penalty=1.1, previous=[0]) == 1
    assert sample(np.array([-0.1, -0.11]), repetition_penalty=1.2, previous=[0]) == 1
    assert sample(np.array([-0.11, -0.1]), repetition_penalty=0.5, previous=[0]) == 0


@pytest.mark.parametrize("repetition_penalty", [1.3, 1.0])
def test_the_logits_of_the_caller_are_left_alone(repetition_penalty):
    logits = LOGITS.astype(np.float64)
    sample(logits, 1.0, 5, 0.9, 0.01, repetition_penalty, PREVIOUS, np.random.default_rng(0))
    assert np.array_equal(logits, LOGITS)


def test_ties_at_the_limit_of_top_k_are_all_kept():
    drawn = {int(sample([1.0, 1.0, 0.0], 1.0, top_k=1, rng=np.random.default_rng(n))) for n in range(50)}
    assert drawn == {0, 1}


def test_a_top_k_larger_than_the_vocabulary_is_all_of_it():
    ids = [sample(LOGITS, 1.0, top_k=k, rng=np.random.default_rng(1)) for k in (0, 40, 10**9)]
    assert len(set(map(int, ids))) == 1


def test_a_draw_hardly_depends_on_rounding():
    """Of 500 draws from 50,000 tokens at most two may change when the logits do by 1e-5."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=50_000) * 3
    n_changed = 0
    for seed in range(500):
        rounded = logits + rng.normal(size=50_000) * 1e-5
        ids = [sample(x, 1.0, rng=np.random.default_rng(seed)) for x in (logits, rounded)]
        n_changed += int(ids[0] != ids[1])
    assert n_changed <= 2


def test_without_an_rng_draws_differ():
    assert len({int(sample(np.zeros(10**6), 1.0)) for _ in range(3)}) > 1


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
def test_values_out_of_range_are_named(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
            sample(LOGITS, **{name: value})


@given(logits=rows_of_logits)
def test_log_softmax_is_the_logarithm_of_probabilities(logits):
    log_probs = log_softmax(np.array(logits, dtype=np.float32))
    assert log_probs.dtype == np.float64
    for row, expected in zip(log_probs, logits, strict=True):
        highest = max(expected)
        total = math.log(math.fsum(math.exp(x - highest) for x in expected))
        np.testing.assert_allclose(row, [x - highest - total for x in expected], rtol=1e-12, atol=1e-12)
