"""Prompts in, finished texts out: batches of similar length, results in the order of the prompts."""

from collections import Counter

import numpy as np

from generation.batches import generate_batch, text_seed
from generation.scoring import log_softmax
from generation.text_stream import TextStream

BATCH_SIZE = 32  # texts per forward pass; docs/architecture.md has the measurements
MAX_CACHE_BYTES = 2**30  # fewer texts share a batch if their keys and values would need more memory
BATCHES_PER_WINDOW = 8  # batches that are sorted by length together, and yielded together


def complete(
    encoder, prompts, task, seed=None, batch_size=None, n_samples=1, stop=(), logprobs=None, on_token=None
):
    """Continue prompts: yield a result for each, in order, as soon as its window of batches is finished.

    Args:
        encoder: the tokenizer.
        prompts: texts; an empty text becomes `encoder.start_ids`. Samples of one prompt stand side by side.
        task: the arguments of `generate_batch` that all prompts share, except is_done.
        seed: makes sampling repeatable; each prompt gets its own `text_seed`.
        batch_size: the maximum number of texts in a batch; None means BATCH_SIZE, or fewer for long texts.
        n_samples: how many times each prompt occurs; a batch does not split them if it has room for all.
        stop: stop strings.
        logprobs: how many alternatives to report for each token, with log-probabilities; None for no report.
        on_token: a function without arguments, called for each new token.

    Yields:
        {"text", "tokens", "finish_reason"}, and "logprobs" if requested.
    """
    inputs = [encoder.encode_prompt(prompt) for prompt in prompts]
    n_before = Counter()
    seeds = []
    for ids in inputs:
        seeds.append(text_seed(seed, ids, n_before[tuple(ids)]))
        n_before[tuple(ids)] += 1
    if batch_size is None:
        batch_size = max(1, BATCH_SIZE // n_samples) * n_samples
        max_bytes = MAX_CACHE_BYTES
    else:
        max_bytes = np.inf
    n_window = batch_size * BATCHES_PER_WINDOW
    for first in range(0, len(inputs), n_window):
        window = range(first, min(first + n_window, len(inputs)))
        results = {}
        for batch in split_by_length(window, inputs, task, batch_size, max_bytes):
            batch_inputs, batch_seeds = [inputs[n] for n in batch], [seeds[n] for n in batch]
            finished = complete_batch(encoder, batch_inputs, batch_seeds, task, stop, logprobs, on_token)
            results.update(zip(batch, finished, strict=True))
        yield from (results[n] for n in window)


def split_by_length(window, inputs, task, batch_size, max_bytes):
    """Sort prompts by length and cut them into batches: yield lists of indices into `inputs`.

    Similar lengths need little padding. A batch has at most batch_size texts, and at most max_bytes of cache.
    """
    wpe = task["params"]["wpe"]  # [n_ctx, n_embd]
    bytes_per_token = 2 * len(task["params"]["blocks"]) * wpe.shape[1] * wpe.itemsize  # keys and values
    batch = []
    for n in sorted(window, key=lambda n: len(inputs[n])):
        n_slots = min(len(wpe), len(inputs[n]) + task["n_tokens_to_generate"])
        cache_bytes = (len(batch) + 1) * n_slots * bytes_per_token
        if batch and (len(batch) == batch_size or cache_bytes > max_bytes):
            yield batch
            batch = []
        batch.append(n)
    yield batch


def complete_batch(encoder, inputs, seeds, task, stop, logprobs, on_token):
    """Continue one batch of token ids. Returns a result for each, as `complete` yields them."""
    streams = [TextStream(encoder, stop) for _ in inputs]
    results = [{"text": "", "tokens": [], "finish_reason": "length"} for _ in inputs]
    reports = [[] for _ in inputs]

    def is_done(row, token_id):
        results[row]["text"] += streams[row].push(token_id)
        return streams[row].has_stopped

    for row, token_id, logits in generate_batch(inputs, seeds=seeds, is_done=is_done, **task):
        results[row]["tokens"].append(token_id)
        if logprobs is not None:
            reports[row].append(report_logprobs(encoder, token_id, logits, logprobs))
        if on_token:
            on_token()
    for result, stream, report in zip(results, streams, reports, strict=True):
        result["text"] += stream.finish()
        if stream.has_stopped or len(result["tokens"]) < task["n_tokens_to_generate"]:
            result["finish_reason"] = "stop"
        if logprobs is not None:
            result["logprobs"] = report
    return results


def report_logprobs(encoder, token_id, logits, n_top):
    """The log-probability of a token and of the n_top most probable tokens, for JSON. logits [n_vocab]."""
    log_probs = log_softmax(logits)

    def entry(entry_id):
        log_prob = round(float(log_probs[entry_id]), 4)
        return {"id": int(entry_id), "token": encoder.decode([entry_id]), "logprob": log_prob}

    top_ids = np.argsort(-log_probs)[:n_top]  # [n_vocab] -> [n_top]
    return {**entry(token_id), "top_logprobs": [entry(top_id) for top_id in top_ids]}
