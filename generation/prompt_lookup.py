"""Prompt lookup: faster greedy decoding of repetitive text, with the same ids as `gpt2.generate`.

Draft: if the last tokens occurred before, the tokens that followed them then are likely to follow again.
Verify: one forward pass computes all draft tokens. It costs little more than a pass for one token, because it
reads the weights only once. Accept: keep the draft up to the first token that the model would not choose.

Source: Saxena, "Prompt Lookup Decoding", 2023, github.com/apoorvumang/prompt-lookup-decoding
"""

from itertools import cycle, islice

import numpy as np

from gpt2 import check_prompt, gpt2, new_cache, newest_half, prefill

N_MATCH = 3  # tokens that must match
MIN_DRAFT = 7  # tokens of a draft; after each fully accepted draft the next is twice as long plus 1,
MAX_DRAFT = 31  # up to this many
VERIFY_COST = 2.5  # extra cost of verifying a draft, in tokens
BUDGET_PER_PASS = 0.05  # tokens that each pass adds to the budget for drafts
MARGIN = 1e-3  # if two logits are this close, rounding may decide: the token is computed alone


def generate_with_lookup(inputs, params, n_head, n_tokens_to_generate, stop_id=None):
    """Yield the same ids as greedy `gpt2.generate`, faster if the text repeats itself.

    Draft only while accepted tokens have paid for it: this bounds the cost of rejected drafts. Arguments and
    errors are those of `gpt2.generate`.
    """
    for _, new_ids in lookup_passes(inputs, params, n_head, n_tokens_to_generate, stop_id):
        yield from new_ids


def lookup_passes(inputs, params, n_head, n_tokens_to_generate, stop_id=None):
    """Yield (draft, new ids) after each pass: its draft, [] or ids, and the ids by which the text grows."""
    ids = check_prompt(inputs, params)
    n_ctx = len(params["wpe"])
    cache = new_cache(params, n_head, n_slots=min(n_ctx, len(ids) + max(0, n_tokens_to_generate)))
    n_past = 0  # tokens in the cache
    budget, draft_length = VERIFY_COST, MIN_DRAFT
    followers = index_followers(ids)
    n_left = n_tokens_to_generate
    while n_left > 0:
        if len(ids) > n_ctx:
            ids, n_past = newest_half(ids), 0
            followers = index_followers(ids)
        draft = []
        if n_past and budget >= VERIFY_COST:
            n_draft = min(draft_length, n_left - 1, n_ctx - len(ids))
            start = followers.get(tuple(ids[-N_MATCH:]), len(ids))
            draft = list(islice(cycle(ids[start:]), n_draft))
        if draft:
            inputs = ids[n_past:] + draft
            logits = gpt2(
                inputs, **params, n_head=n_head, cache=cache, n_past=n_past
            )  # [1 + n_draft, n_vocab]
        else:
            logits = prefill(ids[n_past:], params, n_head, cache, n_past)[None]  # [1, n_vocab]

        budget += BUDGET_PER_PASS - (1 + VERIFY_COST if draft else 0)  # each yielded token pays 1 back
        new_ids = []
        for row, draft_id in zip(logits, [*draft, None], strict=True):  # row [n_vocab]
            next_id = int(np.argmax(row))
            if draft and np.sum(row > row[next_id] - MARGIN) > 1:
                budget = min(budget, VERIFY_COST - BUDGET_PER_PASS)
                break
            if next_id in np.ravel(stop_id):
                n_left = 0
                break
            followers[tuple(ids[-N_MATCH:])] = len(ids)
            ids.append(next_id)
            new_ids.append(next_id)
            n_left -= 1
            budget = min(budget + bool(draft), 4 * VERIFY_COST)
            if next_id != draft_id:
                break
        if draft:
            is_accepted = draft_id is None  # the loop reached the token after the draft
            draft_length = min(2 * draft_length + 1, MAX_DRAFT) if is_accepted else MIN_DRAFT
        n_past = len(ids) - 1
        yield draft, new_ids


def index_followers(ids):
    """Where the most recent follower of each N_MATCH tokens is: {tuple of ids: index in ids}."""
    return {tuple(ids[end - N_MATCH : end]): end for end in range(N_MATCH, len(ids))}
