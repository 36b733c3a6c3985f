"""Two more sampling filters around the sampler in gpt2.py: min-p and the repetition penalty.

logits -> penalize_repetition -> temperature -> top_k -> top_p -> keep_min_p -> draw -> id
"""

import numpy as np

import gpt2
from gpt2 import apply_temperature, draw, keep_top_k, keep_top_p


def sample(logits, ids, rng, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0):
    """Choose the next token. logits [..., n_vocab] -> ids [...].

    functools.partial(sample, min_p=0.1, temperature=1) is a `sampler` for `gpt2.generate`.

    Args:
        logits: the scores from `gpt2`.
        ids: [..., n_ids], the text so far; only the repetition penalty reads it.
        rng: a numpy.random.Generator.
        temperature, top_k, top_p: as in `gpt2.sample`.
        min_p: sample from tokens at least min_p times as probable as the most probable one; 0 means all.
        repetition_penalty: above 1 makes tokens that occurred less probable, below 1 more; 1 disables it.

    Raises:
        ValueError: an argument is out of range.
    """
    check_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    logits = np.asarray(logits, dtype=np.float64)
    if repetition_penalty != 1:
        logits = penalize_repetition(logits, ids, repetition_penalty)
    if temperature == 0:
        return np.argmax(logits, axis=-1)
    logits = apply_temperature(logits, temperature)
    if top_k > 0:
        logits = keep_top_k(logits, top_k)
    if top_p < 1:
        logits = keep_top_p(logits, top_p)
    if min_p > 0:
        logits = keep_min_p(logits, min_p)
    return draw(logits, rng)


def check_sampling(temperature, top_k, top_p, min_p, repetition_penalty):
    """Raise ValueError if an argument of `sample` is out of range."""
    gpt2.check_sampling(temperature, top_k, top_p)
    if not 0 <= min_p <= 1:
        raise ValueError(f"min_p must be from 0 (all tokens) to 1, not {min_p}")
    if not 0.01 <= repetition_penalty <= 100:
        raise ValueError(
            f"repetition_penalty must be from 0.01 to 100 (1 disables it), not {repetition_penalty}"
        )


def penalize_repetition(logits, ids, penalty):
    """Divide the positive logits of repeated tokens by the penalty, and multiply the negative ones by it.

    logits [..., n_vocab], ids [..., n_ids] -> [..., n_vocab]. The paper divides all of them, which would make
    tokens with negative logits more probable (Keskar et al., "CTRL", section 4.1, arXiv:1909.05858).
    """
    ids = np.asarray(ids, dtype=np.intp)
    scores = np.take_along_axis(logits, ids, axis=-1)  # [..., n_vocab] -> [..., n_ids]
    penalized = np.where(scores < 0, scores * penalty, scores / penalty)
    logits = logits.copy()
    np.put_along_axis(logits, ids, penalized, axis=-1)
    return logits


def keep_min_p(logits, min_p):
    """Keep tokens at least min_p times as probable as the most probable one. arXiv:2407.01082"""
    threshold = logits.max(axis=-1, keepdims=True) + np.log(min_p)  # [..., n_vocab] -> [..., 1]
    return np.where(logits < threshold, -np.inf, logits)
