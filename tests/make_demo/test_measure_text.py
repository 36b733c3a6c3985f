"""The share of windows that the training text has, compared with sets of tuples."""

import numpy as np
import pytest

from models.make_demo.measure_text import seen_share


def windows(documents):
    return [tuple(ids[n : n + 40]) for ids in documents for n in range(len(ids) - 39)]


def test_seen_share():
    rng = np.random.default_rng(0)
    train = [rng.integers(4096, size=n).tolist() for n in (39, 40, 100, 200)]
    held_out = [train[2][10:70] + train[3][:50], train[0], rng.integers(4096, size=80).tolist()]
    seen = set(windows(train))
    expected = np.mean([window in seen for window in windows(held_out)])
    assert 0.2 < expected < 0.8
    assert seen_share(held_out, train) == pytest.approx(expected)
