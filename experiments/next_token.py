"""Draw the effect of temperature, top-k and top-p on the probabilities of the next token.

    python experiments/next_token.py "Once upon a time there was a"
    python experiments/next_token.py --temperature=1.5 --top_k=3 --top_p=0.5 "Once upon a time there was a"

The first panel shows the most probable tokens with their own probabilities. Each further panel applies one of
the three settings alone.
"""

import numpy as np
from helpers.output_files import write_picture
from helpers.picture_labels import drawable, picture_labels
from helpers.token_labels import encode_within_context, visible
from matplotlib.figure import Figure

from cli.exit_status import run
from generation.scoring import log_softmax
from gpt2 import apply_temperature, check_sampling, gpt2, keep_top_k, keep_top_p
from utils import load_encoder_hparams_and_params


def next_token_probabilities(logits, temperature, top_k, top_p):
    """Apply each setting alone: logits [n_vocab] -> {name of the setting: probabilities [n_vocab]}."""
    settings = {
        "the model's own": logits,
        f"temperature {temperature:g}": apply_temperature(logits, temperature),
        f"top_k {top_k}": keep_top_k(logits, top_k),
        f"top_p {top_p:g}": keep_top_p(logits, top_p),
    }
    return {name: np.exp(log_softmax(changed)) for name, changed in settings.items()}


def draw(settings, tokens, title):
    """Draw one panel of bars per setting. {name: probabilities [n_tokens]} -> Figure."""
    figure = Figure(figsize=(3 * len(settings) + 1, 0.28 * len(tokens) + 1.4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    maximum = max(probs.max() for probs in settings.values())
    for axes, name in zip(figure.subplots(1, len(settings), sharey=True), settings, strict=True):
        probs = settings[name]
        bars = axes.barh(range(len(tokens)), probs, color="steelblue")
        axes.bar_label(bars, [f"{prob:.1%}" if prob else "" for prob in probs], padding=2, fontsize=8)
        axes.set_yticks(range(len(tokens)), tokens, parse_math=False)
        axes.set(title=name, xlim=(0, 1.2 * maximum))
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()  # of all panels, since they share it: the most probable token on top
    return figure


def main(
    prompt: str,
    temperature: float = 0.7,
    top_k: int = 5,
    top_p: float = 0.6,
    n_tokens: int = 12,
    model_size: str = None,
    out: str = "next_token.png",
):
    """Draw the probabilities of the next token of a text.

    Args:
        prompt: the text.
        temperature: more than 0. Below 1 sharpens the distribution, above 1 flattens it.
        top_k: keep the k most probable tokens.
        top_p: keep the smallest set of most probable tokens with a total probability of at least top_p.
        n_tokens: the number of tokens to show, at most 100.
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    check_sampling(temperature, top_k, top_p)
    if temperature == 0 or n_tokens > 100:
        raise ValueError("temperature must be more than 0, and n_tokens at most 100")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = encode_within_context(encoder, prompt, params)
    logits = gpt2(ids, **params, n_head=hparams["n_head"], n_logits=1)[-1].astype(np.float64)  # [n_vocab]
    shown_ids = np.argsort(-logits)[:n_tokens]  # [n_vocab] -> [n_tokens]
    settings = next_token_probabilities(logits, temperature, top_k, top_p)
    settings = {name: probs[shown_ids] for name, probs in settings.items()}
    (title,) = drawable([f"{visible(prompt[-60:])} …"])
    write_picture(out, draw(settings, picture_labels(encoder, shown_ids.tolist()), title))


if __name__ == "__main__":
    run(main)
