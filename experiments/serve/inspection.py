"""What the page shows about a text: tokens, attention weights, the logit lens and the next logits."""

import base64

import numpy as np
from helpers.hidden_states import attention_weights, decode_state, hidden_states
from helpers.token_labels import token_labels

from generation.scoring import score
from gpt2 import newest_half, softmax

N_SHOWN = 64  # the panels Attention and Layers show this many of the newest tokens
N_BEST = 5  # tokens of each cell of the logit lens
N_BARS = 20  # tokens of the panel Next token


def inspect_ids(model, prompt_ids, drawn_ids):
    """Compute the panels of a prompt and of the tokens drawn after it. Returns a dict for JSON.

    Attention weights are whole numbers: 65535 is 1.
    """
    encoder, params, n_head = model.encoder, model.params, model.hparams["n_head"]
    ids = ids_in_context(prompt_ids, drawn_ids, model.n_ctx)  # [n_seq]
    states = hidden_states(ids, params, n_head)  # [n_layer + 1, n_seq, n_embd]
    maps = attention_maps(states, params, n_head)  # [n_layer, n_head, n_shown, n_shown]
    lens_ids, lens_probs, logits = logit_lens(states, params)
    best_ids = np.argsort(-logits)[:N_BARS]  # [n_vocab] -> [N_BARS]
    used_ids = {*ids, *np.ravel(lens_ids).tolist(), *best_ids.tolist()}
    return {
        "ids": ids,
        "bits": surprisals(model, [*prompt_ids, *drawn_ids], len(ids)),
        "labels": dict(zip(used_ids, token_labels(encoder, used_ids), strict=True)),
        "n_shown": maps.shape[-1],
        "attention": to_base64(np.round(maps * 65535), "<u2"),
        "lens": {"ids": lens_ids.tolist(), "probs": np.round(lens_probs, 6).tolist()},
        "logits": to_base64(logits, "<f4"),
        "best": best_ids.tolist(),
        "shapes": shapes(states, logits, n_head),
    }


def ids_in_context(prompt_ids, drawn_ids, n_ctx):
    """The ids that `gpt2.generate` reads for the next token, after it has drawn some."""
    ids = prompt_ids[-n_ctx:]
    for drawn_id in drawn_ids:
        ids = [*ids, drawn_id]
        if len(ids) > n_ctx:
            ids = newest_half(ids)
    return ids


def surprisals(model, ids, n_last):
    """The surprisal of the last n_last tokens in bits, as in surprise.py. None if no token precedes one."""
    before = [*model.encoder.start_ids, *ids][-n_last - 1 :]
    bits = -score(before, model.params, model.hparams["n_head"]) / np.log(2)  # [n_last] or [n_last - 1]
    return [None] * (n_last - len(bits)) + np.round(bits, 4).tolist()


def attention_maps(states, params, n_head):
    """The weights between the newest tokens: [n_layer, n_head, n_shown, n_shown].

    states: [n_layer + 1, n_seq, n_embd].
    """
    pairs = zip(states[:-1], params["blocks"], strict=True)
    maps = [attention_weights(x, block, n_head, N_SHOWN)[..., -N_SHOWN:] for x, block in pairs]
    return np.stack(maps)


def logit_lens(states, params):
    """Decode the newest tokens after each layer. states: [n_layer + 1, n_seq, n_embd].

    Returns:
        ids, probs: of the most probable tokens, [n_layer + 1, n_shown, N_BEST].
        logits: after the last layer and the last token, [n_vocab].
    """
    rows = []
    for x in states:
        logits = decode_state(x[-N_SHOWN:], params)  # [n_shown, n_embd] -> [n_shown, n_vocab]
        rows.append(most_probable(logits))
    ids, probs = map(np.stack, zip(*rows, strict=True))
    return ids, probs, logits[-1]


def most_probable(logits):
    """[n_shown, n_vocab] -> ids and probabilities of the N_BEST most probable tokens, [n_shown, N_BEST]."""
    candidates = np.argpartition(-logits, N_BEST, axis=-1)[:, :N_BEST]  # in any order
    order = np.argsort(-np.take_along_axis(logits, candidates, axis=-1), axis=-1)
    ids = np.take_along_axis(candidates, order, axis=-1)
    return ids, np.take_along_axis(softmax(logits), ids, axis=-1)


def shapes(states, logits, n_head):
    """The shapes of the arrays behind each panel: {panel: [(name, shape)]}."""
    _, n_seq, n_embd = states.shape
    return {
        "tokens": [("ids", (n_seq,)), ("wte[ids] + wpe[:n_seq]", (n_seq, n_embd))],
        "attention": [
            ("q, k and v, each", (n_head, n_seq, n_embd // n_head)),
            ("weights", (n_head, n_seq, n_seq)),
        ],
        "layers": [("x", (n_seq, n_embd)), ("logits", (n_seq, len(logits)))],
        "next": [("logits", (len(logits),))],
    }


def to_base64(array, dtype):
    """The bytes of an array as text, which is shorter than its numbers."""
    return base64.b64encode(array.astype(dtype).tobytes()).decode("ascii")
