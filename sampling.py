"""From logits to a token: greedy or drawn at random, from all of the vocabulary or from its likelier part.

    logits -> penalize_repetition -> temperature -> top_k -> top_p -> min_p -> draw -> id

Each step but the last turns logits [..., n_vocab] into such, in float64; a token that it rules out gets -inf.
"""

import numpy as np


def sample(
    logits, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, previous=(), rng=None
):
    """Choose the next token. logits [..., n_vocab] -> ids [...].

    Args:
        logits: the model's scores.
        temperature: below 1 the likely tokens get likelier, above 1 less so. 0 always takes the likeliest.
        top_k: draw only from this many of the likeliest tokens; 0 means from all.
        top_p: draw only from the smallest set of likeliest tokens that together reach this probability.
        min_p: draw only from tokens at least this fraction as probable as the likeliest.
        repetition_penalty: above 1 makes the tokens of `previous` less likely, below 1 more; 1 does nothing.
        previous: ids [..., n_previous], those of the text so far; only a repetition_penalty looks at them.
        rng: a numpy.random.Generator; None means a new one, seeded by the operating system.

    Raises:
        ValueError: one of the numbers is out of its range, see `check_sampling`.
    """
    check_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    logits = np.asarray(logits, dtype=np.float64)
    if repetition_penalty != 1:
        logits = penalize_repetition(logits, previous, repetition_penalty)
    if temperature == 0:
        return np.argmax(logits, axis=-1)
    logits = apply_temperature(logits, temperature)
    if top_k > 0:
        logits = keep_top_k(logits, top_k)
    if top_p < 1:
        logits = keep_top_p(logits, top_p)
    if min_p > 0:
        logits = keep_min_p(logits, min_p)
    return draw(logits, rng or np.random.default_rng())


def check_sampling(temperature, top_k, top_p, min_p, repetition_penalty):
    """Raise ValueError, with the name of what is wrong, unless all are in their ranges."""
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be 0 (greedy) or more, not {temperature}")
    if not top_k >= 0:
        raise ValueError(f"top_k must be 0 (all tokens) or more, not {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be more than 0, and 1 (all tokens) at most, not {top_p}")
    if not 0 <= min_p <= 1:
        raise ValueError(f"min_p must be from 0 (all tokens) to 1, not {min_p}")
    if not 0.01 <= repetition_penalty <= 100:
        raise ValueError(f"repetition_penalty must be from 0.01 to 100 (1 is none), not {repetition_penalty}")


def penalize_repetition(logits, previous, penalty):
    """Make tokens that occurred less likely: divide their logits by the penalty, or multiply negative ones.

    The paper (Keskar et al., "CTRL", 2019, arXiv:1909.05858, section 4.1) divides them all, which would make
    those with negative logits likelier; this is the later correction.
    """
    previous = np.asarray(previous, dtype=np.intp)
    scores = np.take_along_axis(logits, previous, axis=-1)  # [..., n_vocab] -> [..., n_previous]
    logits = logits.copy()
    np.put_along_axis(logits, previous, np.where(scores < 0, scores * penalty, scores / penalty), axis=-1)
    return logits


def apply_temperature(logits, temperature):
    """Divide by the temperature, after a shift to a maximum of 0, so that nothing can overflow to inf."""
    with np.errstate(over="ignore"):  # to -inf: a probability of 0
        return (logits - np.max(logits, axis=-1, keepdims=True)) / temperature


def keep_top_k(logits, top_k):
    """Keep the top_k likeliest tokens, and any that are as likely as the last of them."""
    top_k = min(top_k, logits.shape[-1])
    lowest = np.partition(logits, -top_k, axis=-1)[..., -top_k, None]  # [..., n_vocab] -> [..., 1]
    return np.where(logits < lowest, -np.inf, logits)


def keep_top_p(logits, top_p):
    """Nucleus sampling: keep the smallest set of likeliest tokens whose probabilities come to top_p or more.

    The token that crosses top_p is kept, as in the paper (Holtzman et al., 2019, arXiv:1904.09751), and any
    that are as likely. OpenAI's own code for GPT-2 drops it, and so can be left with less than top_p.
    """
    probs = np.exp(log_softmax(logits))
    ranked = np.sort(probs, axis=-1)[..., ::-1]  # the likeliest first
    likelier = np.cumsum(ranked, axis=-1) - ranked  # the probability of all tokens before each
    n_kept = np.sum(likelier < top_p, axis=-1, keepdims=True)  # [..., n_vocab] -> [..., 1]
    lowest = np.take_along_axis(ranked, n_kept - 1, axis=-1)  # [..., n_vocab] -> [..., 1]
    return np.where(probs < lowest, -np.inf, logits)


def keep_min_p(logits, min_p):
    """Keep tokens at least min_p times as probable as the likeliest (Nguyen et al., arXiv:2407.01082)."""
    lowest = np.max(logits, axis=-1, keepdims=True) + np.log(min_p)  # [..., n_vocab] -> [..., 1]
    return np.where(logits < lowest, -np.inf, logits)


def draw(logits, rng):
    """Draw from the softmax of the logits: add Gumbel noise, take the best. [..., n_vocab] -> ids [...].

    This "Gumbel-max trick" is exact (Maddison et al., 2014, arXiv:1411.0030), and hardly depends on how the
    logits were rounded, which is not quite the same alone and in a batch.
    """
    return np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)


def log_softmax(logits):
    """Logits to the logarithms of probabilities, in float64. [..., n_vocab] -> [..., n_vocab]."""
    logits = np.asarray(logits, dtype=np.float64)
    logits = logits - np.max(logits, axis=-1, keepdims=True)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
