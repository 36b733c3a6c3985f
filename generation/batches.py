"""Several texts in one batch. Each continues as it would alone."""

import numpy as np

from generation.min_p_and_repetition import sample
from gpt2 import check_prompt, gpt2, new_cache, newest_half, prefill


def generate_batch(
    prompts, params, n_head, n_tokens_to_generate, stop_id=None, seeds=None, is_done=None, **sampling
):
    """Continue texts as `generate` would: yield (row, id, logits) for each token as soon as it is known.

    Padding at the start aligns the texts at their newest token. A finished text leaves the batch.

    Args:
        prompts: token ids, n_batch lists of any lengths.
        params, n_head, n_tokens_to_generate, stop_id: as in `gpt2.generate`.
        seeds: one seed per prompt, as in `gpt2.generate`.
        is_done: a function of (row, id), called after each token is yielded; True ends that text.
        sampling: as in `min_p_and_repetition.sample`.

    Yields:
        row: the index of the prompt. id: its new token. logits: [n_vocab], which the token was chosen from.

    Raises:
        ValueError: as in `gpt2.generate`.
    """
    n_ctx = len(params["wpe"])
    texts = [check_prompt(prompt, params) for prompt in prompts]
    seeds = [None] * len(texts) if seeds is None else seeds
    rngs = [np.random.default_rng(seed) for seed in seeds]
    rows = list(range(len(texts)))  # the prompts of the texts that still run
    n_slots = min(n_ctx, max(map(len, texts), default=0) + n_tokens_to_generate)
    cache, n_past = None, 0

    for _ in range(n_tokens_to_generate):
        if not rows:
            return
        if cache is None or n_past == n_slots:
            texts = [newest_half(ids) if len(ids) > n_ctx else ids for ids in texts]
            logits, cache, n_past, n_pad = prefill_batch(texts, params, n_head, n_slots)
        else:
            newest = [ids[-1:] for ids in texts]  # [n_batch, 1]
            logits = gpt2(newest, **params, n_head=n_head, cache=cache, n_past=n_past, n_pad=n_pad)[:, -1]
            n_past += 1

        running = []  # indices into rows, texts, logits, n_pad and the batch axis of the cache
        for n, (row, ids) in enumerate(zip(rows, texts, strict=True)):
            next_id = int(sample(logits[n], ids, rngs[row], **sampling))
            if next_id not in np.ravel(stop_id):
                ids.append(next_id)
                yield row, next_id, logits[n]
                if not (is_done and is_done(row, next_id)):
                    running.append(n)

        if len(running) < len(rows):  # compact the batch in place
            rows, texts = [rows[n] for n in running], [texts[n] for n in running]
            n_pad = n_pad[running]
            cache[..., : len(running), :n_past, :] = cache[..., running, :n_past, :]
            cache = cache[..., : len(running), :, :]  # [n_layer, 2, n_head, n_batch, n_slots, head_dim]


def prefill_batch(texts, params, n_head, n_slots):
    """Read texts of different lengths into a new cache; equal texts are computed once.

    Args:
        texts: n_batch lists of ids.
        n_slots: the room in the cache.

    Returns:
        logits: [n_batch, n_vocab], after the last token of each text.
        cache: [n_layer, 2, n_head, n_batch, n_slots, head_dim].
        n_past: how many slots are in use.
        n_pad: [n_batch, 1], how many of those are padding.
    """
    distinct = list(dict.fromkeys(map(tuple, texts)))
    n_past = max(map(len, distinct))
    n_pad = np.array([[n_past - len(ids)] for ids in distinct])  # [n_distinct, 1]
    padded = [(0,) * (n_past - len(ids)) + ids for ids in distinct]  # [n_distinct, n_past]
    cache = new_cache(params, n_head, len(distinct), n_slots)
    logits = prefill(padded, params, n_head, cache, n_pad=n_pad)  # [n_distinct, n_vocab]
    if len(distinct) < len(texts):
        copies = [distinct.index(tuple(ids)) for ids in texts]
        logits, cache, n_pad = logits[copies], cache[..., copies, :, :], n_pad[copies]
    return logits, cache, n_past, n_pad


def text_seed(seed, ids, n_before=0):
    """A seed that depends on the prompt, not on the batch: the same text, alone or in any batch.

    ids: the prompt. n_before: how many earlier texts have the same prompt. None stays None.
    """
    return None if seed is None else [seed, n_before, *ids]
