"""Show the surprise of each token of a text: in color, in the terminal or on a web page.

    python experiments/surprise.py "Once upon a time there was a refrigerator"
    python experiments/surprise.py --html=surprise.html --file=story.txt

Surprise is -log2 of the probability of a token given the tokens before it. <|endoftext|> precedes the first
token. A surprise of n bits equals n heads in n coin tosses. On the page, point at a token to see its surprise
and the five most probable tokens in its place.
"""

from html import escape

import numpy as np
from helpers.output_files import write_atomically
from helpers.progress_bar import progress_bar
from helpers.token_labels import on_color, token_labels, token_texts, visible

from cli.exit_status import run
from cli.prompts import read_text
from generation.scoring import log_softmax
from gpt2 import gpt2
from utils import load_encoder_hparams_and_params

COLORS = (231, 230, 229, 228, 222, 221, 215, 209, 203, 197)  # of 256: from white to red
MAX_BITS = 15  # this surprise and any larger one is red
PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Surprise</title>
<style>
body {{ max-width: 40em; margin: 3em auto; padding: 0 1em; font: 1.1em/1.8 serif; white-space: pre-wrap }}
span {{ background: rgb(255 var(--rest) var(--rest)) }}
span:hover {{ outline: 2px solid }}
span:hover::after {{ content: attr(data-tip); position: fixed; right: 1em; top: 1em;
  padding: 1em; background: #222; color: white; font: 14px/1.5 monospace; white-space: pre }}
</style>
<body>{spans}

<small>{summary}. Point at a token to see more probable ones.</small></body></html>
"""


def surprises(ids, params, n_head, n_best=5):
    """Yield (surprise, [(id, surprise) of the n_best most probable tokens]) for each token but the first.

    A long text is read in overlapping windows. Each token has at least half a context before it, if the text
    has that many tokens.
    """
    n_ctx = len(params["wpe"])
    stride = (n_ctx + 1) // 2
    for start in range(1, len(ids), stride):
        targets = ids[start : start + stride]  # [n_new]
        last = start + len(targets) - 1
        logits = gpt2(ids[max(0, last - n_ctx) : last], **params, n_head=n_head, n_logits=len(targets))
        bits = -log_softmax(logits) / np.log(2)  # [n_new, n_vocab]
        for target, row in zip(targets, bits, strict=True):
            best = np.argsort(row)[:n_best]  # [n_vocab] -> [n_best]
            yield row[target], list(zip(best.tolist(), row[best], strict=True))


def to_terminal(text, bits):
    """Color the text of a token with one of 256 background colors."""
    step = min(int(bits / MAX_BITS * len(COLORS)), len(COLORS) - 1)
    shown = "".join(char if char.isprintable() else visible(char) for char in text)
    return on_color(shown, COLORS[step]) + "\n" * text.count("\n")


def to_html(text, bits, best):
    """Wrap the text of a token in a <span>. best: [(text, surprise)] of the most probable tokens."""
    lines = [f"{bits:5.1f} bits  {visible(text)}", ""]
    lines += [f"{100 * 2**-b:5.1f} %     {other}" for other, b in best]
    tip = escape("\n".join(lines))
    rest = round(255 - 175 * min(bits / MAX_BITS, 1))
    return f'<span style="--rest: {rest}" data-tip="{tip}">{escape(text)}</span>'


def main(text: str = None, file: str = None, html: str = None, model_size: str = None):
    """Show the surprise of each token of a text.

    Args:
        text: the text.
        file: read the text from this file instead.
        html: write a web page to this file instead of printing the text.
        model_size: the model, as for gpt2.py.
    """
    if (text is None) == (file is None):
        raise ValueError("give either a text, in quotes, or --file=PATH")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = [*encoder.start_ids, *encoder.encode(read_text(file) if text is None else text)]
    n_tokens = len(ids) - 1
    rows = list(progress_bar(surprises(ids, params, hparams["n_head"]), n_tokens, "token"))
    tokens, bits = token_texts(encoder, ids[1:]), [bits for bits, _ in rows]
    summary = f"{sum(bits):.1f} bits, {sum(bits) / max(1, n_tokens):.2f} per token, {n_tokens} tokens"
    if html is None:
        print("".join(map(to_terminal, tokens, bits)), summary, sep="\n")
    else:
        best_tokens = [[(*token_labels(encoder, [best]), bits) for best, bits in row] for _, row in rows]
        spans = "".join(map(to_html, tokens, bits, best_tokens))
        write_atomically(html, PAGE.format(spans=spans, summary=summary).encode("utf-8"))
        print(html)


if __name__ == "__main__":
    run(main)
