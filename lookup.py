"""Greedy decoding that looks ahead: where a text repeats itself, several tokens in one pass of the model.

What followed the last few tokens when they were there before is a guess at what follows now (prompt-lookup
decoding; Saxena, 2023, github.com/apoorvumang/prompt-lookup-decoding). One pass checks all of it, for the
weights are read once whether for one token or for several; the first token that the model would not have
chosen ends what is kept.
"""

import itertools

import numpy as np

from gpt2 import check_prompt, gpt2, new_cache, newest_half

N_MATCH = 3  # tokens that must have been there before
N_GUESS = 7  # tokens; twice as many and one more after a guess that was right to its end,
MAX_GUESS = 31  # but no more than these
COST = 2.5  # of a check: the tokens that could have been made in the time that it takes longer
EARNED = 0.05  # of a token, by each pass: the part of the time that may go into wrong guesses
MARGIN = 1e-3  # between the best two logits: far more than rounding differs for several tokens and for one


def generate_greedily(inputs, params, n_head, n_tokens_to_generate, stop_id=None):
    """What `generate` yields without sampling: the same ids, sooner where the text repeats itself.

    But for the first, a guess must have been paid for by tokens made before it, so that wrong ones cost
    little. Arguments, results and errors are those of `generate`.
    """
    ids = check_prompt(inputs, params)
    n_ctx = len(params["wpe"])
    n_slots = min(n_ctx, len(ids) + max(0, n_tokens_to_generate))
    cache, n_past = new_cache(params, n_head, n_slots=n_slots), 0  # it holds the first n_past of the ids
    found, credit, n_guess = what_followed(ids), COST, N_GUESS
    n_left = n_tokens_to_generate
    while n_left > 0:
        if len(ids) > n_ctx:
            ids, n_past = newest_half(ids), 0
            found = what_followed(ids)
        start = found.get(tuple(ids[-N_MATCH:]), len(ids))
        n_room = min(n_left - 1, n_ctx - len(ids)) if n_past and credit >= COST else 0
        guess = list(itertools.islice(itertools.cycle(ids[start:]), min(n_guess, n_room)))
        new = ids[n_past:] + guess
        logits = gpt2(new, **params, n_head=n_head, cache=cache, n_past=n_past, n_logits=len(guess) + 1)
        credit += EARNED - (COST + 1 if guess else 0)  # 1 comes back with each token that the check yields
        for row, guessed in zip(logits, [*guess, None], strict=True):  # [n_vocab], what was thought to come
            id = int(np.argmax(row))
            if guess and np.sum(row > row[id] - MARGIN) > 1:
                credit = min(credit, COST - EARNED)
                break  # to ask for this token alone, as `generate` does
            if id == stop_id:
                return
            found[tuple(ids[-N_MATCH:])] = len(ids)
            ids.append(id)
            yield id
            n_left, credit = n_left - 1, min(credit + bool(guess), 4 * COST)
            if id != guessed:
                break
        if guess:
            n_guess = min(2 * n_guess + 1, MAX_GUESS) if guessed is None else N_GUESS
        n_past = len(ids) - 1


def what_followed(ids):
    """Where the token is that followed last on each N_MATCH tokens: {their ids: its index in ids}."""
    return {tuple(ids[end - N_MATCH : end]): end for end in range(N_MATCH, len(ids))}
