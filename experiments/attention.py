"""Draw attention maps: how much each token reads from itself and from each token before it.

    python experiments/attention.py "The cat sat on the mat because it was tired"
    python experiments/attention.py --layer=3 "The cat sat on the mat because it was tired"

The first command draws all heads of all layers, the second the heads of one layer. A row is a query, a column
is a key. The weights of a row add up to 1.
"""

import numpy as np
from helpers.hidden_states import attention_weights, hidden_states
from helpers.output_files import write_picture
from helpers.picture_labels import picture_labels
from helpers.token_labels import encode_within_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from cli.exit_status import run
from utils import load_encoder_hparams_and_params


def attention_maps(ids, params, n_head):
    """The attention weights of all blocks. ids [n_seq] -> [n_layer, n_head, n_seq, n_seq]."""
    inputs = hidden_states(ids, params, n_head)[:-1]  # of each block: [n_layer, n_seq, n_embd]
    pairs = zip(inputs, params["blocks"], strict=True)
    return np.stack([attention_weights(x, block, n_head) for x, block in pairs])


def draw(maps, tokens, titles, n_columns):
    """Draw one panel per head, with the tokens along the edges. maps [n_panels, n_seq, n_seq] -> Figure."""
    n_rows = -(-len(maps) // n_columns)
    side = min(0.16 * len(tokens) + 0.4, 60 / n_columns)  # inches
    figure = Figure(figsize=(side * n_columns + 2, side * n_rows + 1), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, squeeze=False, subplot_kw={"xticks": (), "yticks": ()})
    for axes, weights, title in zip(grid.flat, maps, titles, strict=False):
        later = np.triu(np.ones_like(weights), 1)
        image = axes.imshow(np.ma.array(weights, mask=later), cmap="magma_r", norm=PowerNorm(0.5, 0, 1))
        axes.set_title(title, fontsize=9)
    for axes in grid[-1]:
        axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8, parse_math=False)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(tokens)), tokens, fontsize=8, parse_math=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    figure.colorbar(image, ax=grid, label="weight", shrink=min(1, 3 / n_rows), aspect=15)
    return figure


def main(prompt: str, layer: int = None, model_size: str = None, out: str = "attention.png"):
    """Draw the attention maps of a text.

    Args:
        prompt: the text.
        layer: draw only the heads of this layer, counted from 0.
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = encode_within_context(encoder, prompt, params)
    n_layer, n_head = hparams["n_layer"], hparams["n_head"]
    if layer is not None and layer >= n_layer:
        raise ValueError(f"layer must be from 0 to {n_layer - 1}, not {layer}")
    maps = attention_maps(ids, params, n_head)  # [n_layer, n_head, n_seq, n_seq]
    layers = range(n_layer) if layer is None else [layer]
    titles = [f"layer {number}, head {head}" for number in layers for head in range(n_head)]
    panels = np.concatenate(maps[layers])  # [n_layers, n_head, n_seq, n_seq] -> [n_panels, n_seq, n_seq]
    write_picture(out, draw(panels, picture_labels(encoder, ids), titles, n_head if layer is None else 4))


if __name__ == "__main__":
    run(main)
