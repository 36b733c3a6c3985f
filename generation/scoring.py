"""The log-probability of a text, token by token, in windows that slide over a text of any length."""

import numpy as np

from gpt2 import CHUNK_SIZE, gpt2, new_cache


def score(ids, params, n_head, stride=None):
    """The log-probability of each token given those before it, in nats. ids [n_seq] -> float64 [n_seq - 1].

    The first token has no score. Start with the id of <|endoftext|> to score the whole text.

    Args:
        ids: the text.
        params, n_head: the model.
        stride: how far each window of n_ctx tokens moves, from 1 to n_ctx; by default half of n_ctx. Each
            token is scored once, and sees at least n_ctx - stride tokens before it, if there are that many.

    Raises:
        ValueError: an id is not in the vocabulary, or the stride is out of range.
    """
    return np.concatenate([np.empty(0), *score_windows(ids, params, n_head, stride)])


def score_windows(ids, params, n_head, stride=None):
    """Like `score`, but yield the scores of one window at a time: arrays of float64."""
    n_vocab, n_ctx = len(params["wte"]), len(params["wpe"])
    ids = np.asarray(ids, dtype=np.intp)
    stride = (n_ctx + 1) // 2 if stride is None else stride
    if not 1 <= stride <= n_ctx:
        raise ValueError(f"stride must be from 1 to {n_ctx}, not {stride}")
    if not np.all((ids >= 0) & (ids < n_vocab)):
        raise ValueError(f"the ids must be from 0 to {n_vocab - 1}")
    start, end = 1, n_ctx + 1  # the window scores ids[start:end]
    while start < len(ids):
        end = min(end, len(ids))
        window = ids[max(0, end - 1 - n_ctx) : end]  # [n_ctx + 1], or fewer
        yield score_window(window, end - start, params, n_head)
        start, end = end, end + stride


def format_exp(nats):
    """Format exp(nats), such as a perplexity, in at least 10 characters. It may exceed the largest float."""
    if nats < 30:
        return f"{np.exp(nats):10.4f}"
    exponent, fraction = divmod(nats / np.log(10), 1)
    return f"{10**fraction:.4f}e+{exponent:.0f}"


def score_window(window, n_targets, params, n_head):
    """Score the last n_targets tokens of a window. [n_ids] -> [n_targets].

    The model reads the window in chunks, as in `gpt2.prefill`.
    """
    inputs, next_ids = window[:-1], window[1:]  # [n_ids - 1]; next_ids[n] follows inputs[n]
    first_target = len(inputs) - n_targets  # index in next_ids
    cache = new_cache(params, n_head, n_slots=len(inputs))
    scores = []
    for start in range(0, len(inputs), CHUNK_SIZE):
        chunk = inputs[start : start + CHUNK_SIZE]
        targets = next_ids[max(start, first_target) : start + len(chunk)]  # [n_chunk] or fewer
        n_logits = max(1, len(targets))
        logits = gpt2(chunk, **params, n_head=n_head, cache=cache, n_past=start, n_logits=n_logits)
        if len(targets) > 0:
            scores.append(log_probs_of(targets, logits))
    return np.concatenate(scores)


def log_probs_of(targets, logits):
    """One log-probability from each row. [n_targets], [n_targets, n_vocab] -> [n_targets], float64.

    `log_softmax` would need a float64 array of [n_targets, n_vocab]; here only the sums are float64.
    """
    logits = logits - logits.max(axis=-1, keepdims=True)
    total = np.sum(np.exp(logits), axis=-1, dtype=np.float64)  # [n_targets, n_vocab] -> [n_targets]
    return logits[np.arange(len(targets)), targets] - np.log(total)


def log_softmax(logits):
    """Logits to log-probabilities, in float64. [..., n_vocab] -> [..., n_vocab]."""
    logits = np.asarray(logits, dtype=np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
