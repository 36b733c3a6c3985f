"""What temperature, top-k and top-p do to the probabilities of the next token.

    python experiments/next_token.py "Once upon a time there was a"
    python experiments/next_token.py --temperature=1.5 --top_k=3 --top_p=0.5 "Once upon a time there was a"

draws bars for the likeliest tokens: as the model finds them, and under each of the three on its own.
"""

import numpy as np
from common import encode, labels, write_picture
from matplotlib.figure import Figure

from cli import run
from gpt2 import gpt2
from sampling import apply_temperature, check_sampling, keep_top_k, keep_top_p, log_softmax
from utils import load_encoder_hparams_and_params


def next_token_probabilities(logits, temperature, top_k, top_p):
    """{what is done: the probabilities it leaves}. logits [n_vocab] -> arrays [n_vocab]."""
    settings = {
        "the model's own": logits,
        f"temperature {temperature:g}": apply_temperature(logits, temperature),
        f"top_k {top_k}": keep_top_k(logits, top_k),
        f"top_p {top_p:g}": keep_top_p(logits, top_p),
    }
    return {name: np.exp(log_softmax(changed)) for name, changed in settings.items()}


def draw(settings, tokens, title):
    """A panel of bars for each setting, {name: probabilities [n_tokens]}."""
    figure = Figure(figsize=(3 * len(settings) + 1, 0.28 * len(tokens) + 1.4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    most = max(probs.max() for probs in settings.values())
    for axes, name in zip(figure.subplots(1, len(settings), sharey=True), settings, strict=True):
        probs = settings[name]
        bars = axes.barh(range(len(tokens)), probs, color="steelblue")
        axes.bar_label(bars, [f"{prob:.1%}" if prob else "" for prob in probs], padding=2, fontsize=8)
        axes.set_yticks(range(len(tokens)), tokens, parse_math=False)
        axes.set(title=name, xlim=(0, 1.2 * most))
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()  # of all panels: the likeliest token on top
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
    """Draw the probabilities of a text's next token.

    Args:
        prompt: the text.
        temperature: more than 0; below 1 the likely tokens get likelier.
        top_k: how many of the likeliest tokens are left.
        top_p: the probability that the smallest set of likeliest tokens must reach.
        n_tokens: how many tokens to show.
        model_size: as for gpt2.py.
        out: where to write the picture.
    """
    check_sampling(temperature, top_k, top_p, min_p=0, repetition_penalty=1)
    if temperature == 0 or n_tokens > 100:
        raise ValueError("temperature must be more than 0, and n_tokens 100 at most")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = encode(encoder, prompt, params)
    logits = gpt2(ids, **params, n_head=hparams["n_head"], n_logits=1)[-1].astype(np.float64)  # [n_vocab]
    likeliest = np.argsort(-logits)[:n_tokens]  # [n_vocab] -> [n_tokens]
    settings = next_token_probabilities(logits, temperature, top_k, top_p)
    settings = {name: probs[likeliest] for name, probs in settings.items()}
    tokens, title = labels(encoder, likeliest.tolist()), "".join(labels(encoder, ids[-15:]))
    write_picture(out, draw(settings, tokens, f"{title} …"))


if __name__ == "__main__":
    run(main)
