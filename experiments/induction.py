"""Induction heads: the heads that continue `A B ... A` with B.

    python experiments/induction.py "Mr Dursley met Mrs Dursley"

At the second A, an induction head looks at the token after the first A: at B. The test texts are random
tokens, repeated once. The prefix-matching score of a head is its attention weight on the tokens B, from 0
to 1. It is the mean over the second half of the texts. The picture shows the scores, and the head with the
highest score at work on the prompt. Frames mark the tokens B.

Paper: Olsson et al., "In-context Learning and Induction Heads", arXiv:2209.11895.
"""

import numpy as np
from attention import attention_maps
from helpers.output_files import write_picture
from helpers.picture_labels import picture_labels
from helpers.token_labels import encode_within_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cli.exit_status import run
from utils import load_encoder_hparams_and_params

N_TEXTS = 10  # of random tokens


def repeated_random_tokens(n_tokens, params, rng):
    """Draw different tokens at random, and repeat them. -> ids [2 * n_tokens]."""
    n_vocab, n_ctx = len(params["wte"]), len(params["wpe"])
    if not 2 <= n_tokens <= min(n_vocab, n_ctx // 2):
        raise ValueError(f"n_tokens must be from 2 to {min(n_vocab, n_ctx // 2)}, not {n_tokens}")
    return np.tile(rng.choice(n_vocab, n_tokens, replace=False), 2)


def induction_targets(ids):
    """Where an induction head looks. ids [n_seq] -> bool [n_seq, n_seq], a row per query, a column per key.

    True if the token before the key equals the query.
    """
    ids = np.asarray(ids)
    targets = np.zeros((len(ids), len(ids)), bool)
    targets[:, 1:] = ids[:, None] == ids[:-1]  # [n_seq, 1] == [n_seq - 1] -> [n_seq, n_seq - 1]
    return np.tril(targets)  # no keys after the query


def prefix_matching_scores(ids, params, n_head):
    """The attention weight on the targets, the mean over the queries that have one. -> [n_layer, n_head]."""
    targets = induction_targets(ids)  # [n_seq, n_seq]
    weights = attention_maps(ids, params, n_head) * targets  # [n_layer, n_head, n_seq, n_seq]
    totals = weights.sum(axis=-1)  # -> [n_layer, n_head, n_seq]
    return totals[..., targets.any(axis=-1)].mean(axis=-1)


def draw(scores, best_head, weights, targets, tokens):
    """Draw the map of scores [n_layer, n_head], and the attention of one head [n_seq, n_seq]. -> Figure."""
    (n_layer, n_head), n_seq = scores.shape, len(tokens)
    widths = [0.5 * n_head + 1, 0.2 * n_seq + 1]  # inches
    figure = Figure(figsize=(sum(widths) + 2, max(0.4 * n_layer, 0.2 * n_seq) + 1.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=widths)
    left.imshow(scores, cmap="magma_r", vmin=0, vmax=1, origin="lower")
    for (layer, head), score in np.ndenumerate(scores):
        color = "white" if score > 0.5 else "black"
        left.text(head, layer, f"{score:.2f}", ha="center", va="center", color=color, fontsize=8)
    left.set(title="prefix-matching score", xlabel="head", ylabel="layer")
    left.set(xticks=range(n_head), yticks=range(n_layer))
    later = np.triu(np.ones_like(weights), 1)
    image = right.imshow(np.ma.array(weights, mask=later), cmap="magma_r", vmin=0, vmax=1)
    for query, key in np.argwhere(targets):
        right.add_patch(Rectangle((key - 0.5, query - 0.5), 1, 1, fill=False, edgecolor="tab:blue"))
    right.set_xticks(range(n_seq), tokens, rotation=90, fontsize=8, parse_math=False)
    right.set_yticks(range(n_seq), tokens, fontsize=8, parse_math=False)
    right.set_title("layer {}, head {}".format(*best_head))
    figure.colorbar(image, label="score, weight")
    return figure


def main(prompt: str, n_tokens: int = 50, seed: int = 0, model_size: str = None, out: str = "induction.png"):
    """Draw the prefix-matching score of each head, and the attention of the best head on a text.

    Args:
        prompt: the text for the best head.
        n_tokens: the number of random tokens before the repetition.
        seed: the seed of the random tokens.
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids, n_head = encode_within_context(encoder, prompt, params), hparams["n_head"]
    rng = np.random.default_rng(seed)
    texts = [repeated_random_tokens(n_tokens, params, rng) for _ in range(N_TEXTS)]
    scores = np.mean([prefix_matching_scores(text, params, n_head) for text in texts], axis=0)
    layer, head = np.unravel_index(scores.argmax(), scores.shape)
    weights = attention_maps(ids, params, n_head)[layer, head]  # [n_seq, n_seq]
    figure = draw(scores, (layer, head), weights, induction_targets(ids), picture_labels(encoder, ids))
    write_picture(out, figure)


if __name__ == "__main__":
    run(main)
