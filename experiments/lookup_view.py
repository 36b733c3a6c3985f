"""Show the draft tokens of prompt lookup in color: which ones the model accepts, and which ones it rejects.

    python experiments/lookup_view.py "A red hat. A red hat. A red"
    python experiments/lookup_view.py --out=lookup_view.png "A red hat. A red hat. A red"

Draft tokens are a copy from earlier in the text. One forward pass verifies all of them. The model accepts the
draft up to the first token that it would not choose, and adds its own token. The colors:

    blue: the prompt          green: accepted draft tokens, part of the text
    white: the model's own    red: rejected draft tokens, not part of the text

Method: Saxena, "Prompt Lookup Decoding", 2023. The loop itself is generation/prompt_lookup.py.
"""

from collections import Counter

from helpers.output_files import write_picture
from helpers.picture_labels import picture_labels
from helpers.token_labels import encode_within_context, on_color, token_texts, visible
from matplotlib import rcParams
from matplotlib.figure import Figure

from cli.exit_status import run
from generation.prompt_lookup import lookup_passes
from utils import load_encoder_hparams_and_params

# Of the terminal's 256 colors, and of matplotlib.
COLORS = {
    "prompt": (153, "#afd7ff"),
    "own": (231, "#ffffff"),
    "accepted": (157, "#afffaf"),
    "rejected": (217, "#ffafaf"),
}
WIDTH = 90  # characters in a line of the picture


def outcomes(draft, new_ids):
    """Split one pass of prompt lookup into tokens: [(id, "accepted", "rejected" or "own")]."""
    n_accepted = sum(new == drafted for new, drafted in zip(new_ids, draft, strict=False))
    accepted = [(token_id, "accepted") for token_id in draft[:n_accepted]]
    rejected = [(token_id, "rejected") for token_id in draft[n_accepted:]]
    own = [(token_id, "own") for token_id in new_ids[n_accepted:]]
    return accepted + rejected + own


def to_terminal(text, outcome):
    """Color the text of a token. A line break of a rejected token does not break the line."""
    shown = "".join(char if char.isprintable() else visible(char) for char in text)
    return on_color(shown, COLORS[outcome][0]) + "\n" * (outcome != "rejected" and text.count("\n"))


def draw(labels, tokens_outcomes):
    """Draw each label on the color of its outcome, in lines of WIDTH characters -> Figure."""
    places, line, column = [], 0, 0
    for label in labels:
        if column + len(label) > WIDTH:
            line, column = line + 1, 0
        places.append((column, line))
        column += len(label)
    figure = Figure(figsize=(WIDTH / 11, 0.3 * (line + 2)))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(line + 1, -1))
    axes.set_axis_off()
    style = {"family": ["DejaVu Sans Mono", *rcParams["font.family"]], "fontsize": 10, "parse_math": False}
    for (x, y), label, outcome in zip(places, labels, tokens_outcomes, strict=True):
        color = COLORS[outcome][1]
        axes.barh(y, len(label), left=x, height=0.8, color=color, edgecolor="gray", linewidth=0.3)
        axes.text(x + len(label) / 2, y, label, ha="center", va="center", **style)
    return figure


def main(prompt: str, n_tokens: int = 60, model_size: str = None, out: str = None):
    """Continue a text greedily with prompt lookup, and color its draft tokens.

    Args:
        prompt: the text to continue.
        n_tokens: the number of tokens to generate.
        model_size: the model, as for gpt2.py.
        out: write a picture to this file instead of printing the text.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = encode_within_context(encoder, prompt, params)
    passes = list(lookup_passes(ids, params, hparams["n_head"], n_tokens, encoder.stop_ids))
    tokens = [(token_id, "prompt") for token_id in ids]
    for draft, new_ids in passes:
        tokens += outcomes(draft, new_ids)
    shown_ids, kinds = zip(*tokens, strict=True)
    if out is None:
        print("".join(map(to_terminal, token_texts(encoder, shown_ids), kinds)))
    else:
        write_picture(out, draw(picture_labels(encoder, shown_ids), kinds))
    n = Counter(kinds)
    drafted = f"{n['accepted'] + n['rejected']} draft tokens, {n['accepted']} accepted"
    print(f"{n['own'] + n['accepted']} tokens in {len(passes)} passes; {drafted}")


if __name__ == "__main__":
    run(main)
