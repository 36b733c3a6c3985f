"""Greedy continuations by transformers, from data/make_demo_greedy.py."""

import numpy as np

from support.paths import DATA


def greedy_continuations():
    """50 prompts of the demo model, arrays of ids, and 100 new ids for each: (prompts, continuations)."""
    with np.load(DATA / "demo_greedy.npz") as file:
        prompts = np.split(file["ids"], np.cumsum(file["lengths"])[:-1])
        continuations = file["continuations"].tolist()
    assert np.shape(continuations) == (len(prompts), 100) == (50, 100)
    return prompts, continuations
