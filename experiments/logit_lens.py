"""The logit lens: the prediction of the model if it stopped after each layer.

    python experiments/logit_lens.py "Once upon a time there was a king who had three"

Every block adds to the same n_embd values, so ln_f and wte can decode them after any block. A cell shows the
most probable next token at that point. Its color shows the probability.

Idea: nostalgebraist, "interpreting GPT: the logit lens", 2020.
"""

import numpy as np
from helpers.hidden_states import decode_state, hidden_states
from helpers.output_files import write_picture
from helpers.picture_labels import picture_labels
from helpers.token_labels import encode_within_context
from matplotlib.figure import Figure

from cli.exit_status import run
from gpt2 import softmax
from utils import load_encoder_hparams_and_params

MAX_LABEL = 9  # characters in a cell


def logit_lens(ids, params, n_head):
    """Decode hidden states. [n_seq] -> most probable ids and their probabilities, [n_layer + 1, n_seq]."""
    best, probs = [], []
    for x in hidden_states(ids, params, n_head):
        logits = decode_state(x, params)  # [n_seq, n_embd] -> [n_seq, n_vocab]
        best.append(np.argmax(logits, axis=-1))  # [n_seq, n_vocab] -> [n_seq]
        probs.append(np.max(softmax(logits), axis=-1))
    return np.stack(best), np.stack(probs)


def draw(probs, words, tokens):
    """Draw a row per layer, the last on top, a column per token. probs, words [n_rows, n_seq] -> Figure."""
    n_rows, n_seq = probs.shape
    figure = Figure(figsize=(0.8 * n_seq + 2, 0.4 * n_rows + 1), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(probs, cmap="YlGnBu", vmin=0, vmax=1, aspect="auto", origin="lower")
    for (row, column), word in np.ndenumerate(words):
        color = "white" if probs[row, column] > 0.6 else "black"
        label = word if len(word) <= MAX_LABEL else word[: MAX_LABEL - 1] + "…"
        axes.text(column, row, label, ha="center", va="center", color=color, fontsize=8, parse_math=False)
    axes.set_xticks(range(n_seq), tokens, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(n_rows), ["embedding", *(f"layer {layer}" for layer in range(n_rows - 1))])
    axes.set(xlabel="the text up to this token", ylabel="read after")
    figure.colorbar(image, label="probability of the word in the cell")
    return figure


def main(prompt: str, model_size: str = None, out: str = "logit_lens.png"):
    """Draw the prediction of each layer at each position of a text.

    Args:
        prompt: the text.
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = encode_within_context(encoder, prompt, params)
    best, probs = logit_lens(ids, params, hparams["n_head"])
    words = np.reshape(picture_labels(encoder, best.ravel().tolist()), best.shape)
    write_picture(out, draw(probs, words, picture_labels(encoder, ids)))


if __name__ == "__main__":
    run(main)
