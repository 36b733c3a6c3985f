"""Sampling by the definitions, one token at a time in Python, and a test of distributions."""

import math

import numpy as np

LOGITS = np.random.default_rng(5).normal(size=40).astype(np.float32) * 2


def token_probs(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, ids=()):
    """The tokens that may be drawn, with their probabilities: {id: probability}."""
    scores = {token_id: float(logit) for token_id, logit in enumerate(logits)}
    for token_id in set(ids):
        scores[token_id] *= repetition_penalty if scores[token_id] < 0 else 1 / repetition_penalty
    weights = {token_id: math.exp(score / temperature) for token_id, score in scores.items()}
    if top_k:
        weights = {token_id: weights[token_id] for token_id in sorted(weights, key=weights.get)[-top_k:]}
    kept, total = {}, math.fsum(weights.values())
    for token_id in sorted(weights, key=weights.get, reverse=True):
        if math.fsum(kept.values()) < top_p * total:
            kept[token_id] = weights[token_id]
    kept = {token_id: weight for token_id, weight in kept.items() if weight >= min_p * max(kept.values())}
    return {token_id: weight / math.fsum(kept.values()) for token_id, weight in kept.items()}


def chi_squared(counts, probs):
    """Pearson's statistic minus its degrees of freedom, in units of its standard deviation.

    The approximation needs 10 or more expected draws: all rarer tokens count as one.
    """
    expected = {token_id: prob * sum(counts.values()) for token_id, prob in probs.items()}
    rare = [token_id for token_id in expected if expected[token_id] < 10]
    observed = {token_id: counts.get(token_id, 0) for token_id in expected if token_id not in rare}
    expected_rare = sum(expected[token_id] for token_id in rare)
    observed_rare = sum(counts.get(token_id, 0) for token_id in rare)
    statistic = sum(
        (observed[token_id] - expected[token_id]) ** 2 / expected[token_id] for token_id in observed
    )
    degrees = len(observed) - 1
    if expected_rare > 0:
        statistic += (observed_rare - expected_rare) ** 2 / expected_rare
        degrees += 1
    return (statistic - degrees) / math.sqrt(2 * degrees) if degrees else statistic


def count_ids(ids):
    """{id: how often it was drawn}."""
    return dict(zip(*np.unique(ids, return_counts=True), strict=True))
