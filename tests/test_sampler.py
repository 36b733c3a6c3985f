"""`sample` of gpt2.py against the definitions of temperature, top-k and top-p; properties for any logits.

generation/test_min_p_and_repetition.py adds two filters. test_transformers_parity.py has the reference.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sampling_reference import LOGITS, chi_squared, count_ids, token_probs

from gpt2 import sample

N_DRAWS = 100_000
OPTIONS = {"temperature": [0.5, 1.0, 1.7], "top_k": [0, 1, 7], "top_p": [1.0, 0.6]}
ALL_OPTIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


@pytest.mark.parametrize("options", ALL_OPTIONS[1::4], ids=str)
def test_draws_have_the_defined_distribution(options):
    probs = token_probs(LOGITS, **options)
    logits = np.broadcast_to(LOGITS, (N_DRAWS, len(LOGITS)))
    ids = sample(logits, **options, rng=np.random.default_rng(1))
    assert ids.shape == (N_DRAWS,)
    counts = count_ids(ids)
    assert set(counts) <= set(probs)
    assert chi_squared(counts, probs) < 4


def test_chi_squared_detects_a_slightly_wrong_distribution():
    probs = token_probs(LOGITS)
    ids = np.random.default_rng(2).choice(list(probs), p=list(probs.values()), size=N_DRAWS)
    counts = count_ids(ids)
    assert chi_squared(counts, probs) < 4
    assert chi_squared(counts, token_probs(LOGITS, temperature=1.02)) > 4


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=str)
def test_exactly_the_allowed_tokens_are_drawn(options):
    """All of them, except the rarest."""
    probs = token_probs(LOGITS, **options)
    logits = np.broadcast_to(LOGITS, (3000, len(LOGITS)))
    drawn = set(sample(logits, **options, rng=np.random.default_rng(3)).tolist())
    assert drawn <= set(probs)
    assert drawn >= {token_id for token_id, prob in probs.items() if prob > 0.01}


def drawn_ids(logits, n_draws=300, **options):
    """The set of ids that `sample` draws with n_draws different seeds."""
    return {int(sample(logits, rng=np.random.default_rng(seed), **options)) for seed in range(n_draws)}


def test_the_token_that_crosses_top_p_is_kept():
    logits = np.log([0.1, 0.5, 0.15, 0.25])
    assert drawn_ids(logits, temperature=1, top_p=0.6) == {1, 3}
    assert drawn_ids(logits, temperature=1, top_p=0.49) == {1}


def test_filters_apply_in_order():
    """top_p applies to the probabilities that temperature and top_k leave."""
    logits = np.log([0.4, 0.3, 0.2, 0.1])
    assert drawn_ids(logits, temperature=1, top_p=0.5) == {0, 1}
    assert drawn_ids(logits, temperature=1, top_p=0.5, top_k=2) == {0}
    assert drawn_ids(logits, temperature=0.25, top_p=0.5) == {0}


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 0.4}, {"top_k": 2, "top_p": 0.5}], ids=str)
def test_ties_at_the_threshold_are_all_kept(options):
    assert drawn_ids([1.0, 1.0, 0.0], 50, temperature=1, **options) == {0, 1}


def test_a_top_k_above_the_vocabulary_size_keeps_all_tokens():
    ids = [sample(LOGITS, 1.0, top_k=k, rng=np.random.default_rng(1)) for k in (0, 40, 10**9)]
    assert len(set(map(int, ids))) == 1


floats = st.floats(-1e4, 1e4, width=32)
rows_of_logits = st.lists(st.lists(floats, min_size=6, max_size=6), min_size=1, max_size=4)


@given(logits=rows_of_logits, seed=st.integers(0, 99), options=st.sampled_from(ALL_OPTIONS))
def test_a_batch_draws_the_ids_of_its_rows(logits, seed, options):
    logits = np.array(logits, dtype=np.float32)
    ids = sample(logits, **options, rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    assert ids.tolist() == [sample(row, **options, rng=rng) for row in logits]


@given(logits=rows_of_logits, options=st.sampled_from(ALL_OPTIONS))
def test_temperature_0_is_greedy(logits, options):
    ids = sample(logits, **(options | {"temperature": 0}))
    assert ids.tolist() == np.argmax(logits, axis=-1).tolist()


def test_the_default_is_greedy():
    assert sample(LOGITS) == np.argmax(LOGITS)


@given(logits=rows_of_logits, temperature=st.floats(1e-320, 1e300))
def test_any_temperature_draws_a_valid_token(logits, temperature):
    ids = sample(logits, temperature=temperature, rng=np.random.default_rng(0))
    assert np.all((ids >= 0) & (ids < 6))
    chosen = np.take_along_axis(np.array(logits), ids[:, None], axis=-1)[:, 0]
    assert np.all(chosen >= np.max(logits, axis=-1) - 100 * temperature)  # the noise is between -4 and 40


def test_the_logits_of_the_caller_do_not_change():
    logits = LOGITS.astype(np.float64)
    logits.flags.writeable = False
    sample(logits, 1.0, 5, 0.9, np.random.default_rng(0))
    assert np.array_equal(logits, LOGITS)


def test_draws_hardly_depend_on_rounding():
    """If the logits change by 1e-5, at most two of 500 draws from 50,000 tokens change."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=50_000) * 3
    n_changed = 0
    for seed in range(500):
        rounded = logits + rng.normal(size=50_000) * 1e-5
        ids = [sample(x, 1.0, rng=np.random.default_rng(seed)) for x in (logits, rounded)]
        n_changed += int(ids[0] != ids[1])
    assert n_changed <= 2


def test_draws_without_an_rng_differ():
    assert len({int(sample(np.zeros(10**6), 1.0)) for _ in range(3)}) > 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", [-0.1, math.nan, math.inf]),
        ("top_k", [-1, math.nan]),
        ("top_p", [0, -0.1, 1.1, math.nan]),
    ],
)
def test_arguments_out_of_range_are_rejected(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
            sample(LOGITS, **{name: value})
