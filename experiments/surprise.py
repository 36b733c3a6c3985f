"""How surprising each token of a text is: the text in colours, in the terminal or as a web page.

    python experiments/surprise.py "Once upon a time there was a refrigerator"
    python experiments/surprise.py --html=surprise.html --file=story.txt

Surprise is minus the logarithm of a token's probability after those before it (after <|endoftext|> for the
first), in bits: n bits are as surprising as n heads in n tosses of a coin. On the page, a token under the
pointer shows its own, and the five likeliest tokens in its place.
"""

from html import escape

import numpy as np
from common import labels, on_colour, progress, token_texts, visible, write_whole

from cli import run
from commands import read_text
from gpt2 import gpt2
from sampling import log_softmax
from utils import load_encoder_hparams_and_params

COLOURS = (231, 230, 229, 228, 222, 221, 215, 209, 203, 197)  # of 256: from white to red
MOST = 15  # bits: from there on a colour is red
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

<small>{summary}. Point at a token to see what was likelier.</small></body></html>
"""


def surprises(ids, params, n_head, n_best=5):
    """Yield for each token but the first its surprise, and [(id, surprise)] of the n_best likeliest.

    A long text is read in windows; each token sees half a context before it, or more, where there is so much.
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


def for_terminal(text, bits):
    """The text of a token on a background of one of 256 colours."""
    step = min(int(bits / MOST * len(COLOURS)), len(COLOURS) - 1)
    shown = "".join(char if char.isprintable() else visible(char) for char in text)
    return on_colour(shown, COLOURS[step]) + "\n" * text.count("\n")


def for_page(text, bits, best):
    """The text of a token as a <span>; best is [(text, surprise)] of the likeliest tokens."""
    lines = [f"{bits:5.1f} bits  {visible(text)}", ""]
    lines += [f"{100 * 2**-b:5.1f} %     {other}" for other, b in best]
    tip = escape("\n".join(lines))
    rest = round(255 - 175 * min(bits / MOST, 1))
    return f'<span style="--rest: {rest}" data-tip="{tip}">{escape(text)}</span>'


def main(text: str = None, file: str = None, html: str = None, model_size: str = None):
    """Show how surprising each token of a text is.

    Args:
        text: the text.
        file: a file with the text instead.
        html: write a page to this file, and do not print the text.
        model_size: as for gpt2.py.
    """
    if (text is None) == (file is None):
        raise ValueError("give a text, in quotes, or --file=PATH")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = [encoder.end_of_text, *encoder.encode(read_text(file) if text is None else text)]
    n_tokens = len(ids) - 1
    rows = list(progress(surprises(ids, params, hparams["n_head"]), n_tokens, "token"))
    tokens, bits = token_texts(encoder, ids[1:]), [bits for bits, _ in rows]
    summary = f"{sum(bits):.1f} bits, {sum(bits) / max(1, n_tokens):.2f} for each of {n_tokens} tokens"
    if html is None:
        print("".join(map(for_terminal, tokens, bits)), summary, sep="\n")
    else:
        likeliest = [[(*labels(encoder, [id]), bits) for id, bits in best] for _, best in rows]
        spans = "".join(map(for_page, tokens, bits, likeliest))
        write_whole(html, PAGE.format(spans=spans, summary=summary).encode("utf-8"))
        print(html)


if __name__ == "__main__":
    run(main)
