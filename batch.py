"""Several texts at once, each of which goes on as it would alone."""

import numpy as np

from gpt2 import check_prompt, gpt2, new_cache, newest_half
from sampling import sample


def generate_batch(
    prompts, params, n_head, n_tokens_to_generate, stop_id=None, seeds=None, is_done=None, **sampling
):
    """Continue texts, each as `generate` would: yield (row, id, logits) for each token when it is known.

    The rows of the batch end where their newest tokens are; where one begins later than another, it is filled
    up with padding. A text that has ended leaves the batch and costs nothing any more.

    Args:
        prompts: token ids, n_batch lists, which may be of different lengths.
        params, n_head, n_tokens_to_generate, stop_id, sampling: as in `generate`.
        seeds: one for each prompt, as in `generate`.
        is_done: called as is_done(row, id) for each token, when the next one is asked for; True ends the row.

    Yields:
        row: which of the prompts, from 0. id: its new token. logits: [n_vocab], from which it was chosen.

    Raises:
        ValueError: as in `generate`.
    """
    n_ctx = len(params["wpe"])
    contexts = [check_prompt(prompt, params) for prompt in prompts]
    rngs = [np.random.default_rng(seed) for seed in ([None] * len(contexts) if seeds is None else seeds)]
    rows = list(range(len(contexts)))  # whose texts have not ended; contexts, logits, cache, n_pad go with it
    n_slots = min(n_ctx, max(map(len, contexts), default=0) + n_tokens_to_generate)
    cache, n_past = None, 0

    for _ in range(n_tokens_to_generate):
        if not rows:
            return
        if cache is None or n_past == n_slots:
            contexts = [newest_half(ids) if len(ids) > n_ctx else ids for ids in contexts]
            logits, cache, n_past, n_pad = prefill(contexts, params, n_head, n_slots)
        else:
            newest = [ids[-1:] for ids in contexts]  # [n_batch, 1]
            logits = gpt2(newest, **params, n_head=n_head, cache=cache, n_past=n_past, n_pad=n_pad)[:, -1]
            n_past += 1

        ongoing = []
        for n, (row, ids) in enumerate(zip(rows, contexts, strict=True)):
            id = int(sample(logits[n], **sampling, previous=ids, rng=rngs[row]))
            if id != stop_id:
                ids.append(id)
                yield row, id, logits[n]
                if not (is_done and is_done(row, id)):
                    ongoing.append(n)

        if len(ongoing) < len(rows):  # move up, in the same memory
            rows, contexts = [rows[n] for n in ongoing], [contexts[n] for n in ongoing]
            n_pad = n_pad[ongoing]
            cache[..., : len(ongoing), :n_past, :] = cache[..., ongoing, :n_past, :]
            cache = cache[..., : len(ongoing), :, :]  # [n_layer, 2, n_head, n_batch, n_slots, head_dim]


def prefill(contexts, params, n_head, n_slots):
    """Run the model over whole texts of different lengths; over those that are the same, once.

    contexts: n_batch lists of ids -> logits [n_batch, n_vocab], for what comes next; the cache; n_past, how
    many of its n_slots are in use; n_pad [n_batch, 1], how many of those are padding.
    """
    distinct = list(dict.fromkeys(map(tuple, contexts)))
    n_past = max(map(len, distinct))
    n_pad = np.array([[n_past - len(ids)] for ids in distinct])  # [n_distinct, 1]
    padded = [(0,) * (n_past - len(ids)) + ids for ids in distinct]  # [n_distinct, n_past]
    cache = new_cache(params, n_head, len(distinct), n_slots)  # [.., n_head, n_distinct, n_slots, head_dim]
    logits = gpt2(padded, **params, n_head=n_head, cache=cache, n_pad=n_pad, n_logits=1)[:, -1]
    if len(distinct) < len(contexts):
        rows = [distinct.index(tuple(ids)) for ids in contexts]
        logits, cache, n_pad = logits[rows], cache[..., rows, :, :], n_pad[rows]
    return logits, cache, n_past, n_pad
