"""A map of numbers with a row per layer, such as the effect of each head."""

import numpy as np
from matplotlib.figure import Figure


def draw_layer_map(values, rows, columns, title, label, limit=None):
    """Draw values [n_rows, n_columns] as colors from -limit to limit, the last row on top. -> Figure.

    rows, columns: the labels of the axes. label: what the colors show.
    limit: by default the maximum of |values|.
    """
    limit = np.abs(values).max() if limit is None else limit
    n_rows, n_columns = values.shape
    figure = Figure(figsize=(0.55 * n_columns + 3, 0.4 * n_rows + 1.5), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(values):
        color = "white" if abs(value) > 0.6 * limit else "black"
        number = f"{value:.2f}".replace("-0.00", "0.00")
        axes.text(column, row, number, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(n_columns), columns, rotation=30, ha="right", parse_math=False)
    axes.set_yticks(range(n_rows), rows)
    axes.set_title(title, fontsize=10, parse_math=False)
    figure.colorbar(image, label=label)
    return figure
