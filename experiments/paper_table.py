"""A model's zero-shot figures beside those in the GPT-2 paper.

    python experiments/paper_table.py DATA

DATA is a folder with OpenAI's lambada_test.jsonl or WikiText-2's wiki.test.raw, or both. WikiText is read as
others do who come near the paper: its lines joined by empty ones, scored with a stride of a whole context.
The paper first took out artefacts such as " @-@ ". Its figures are in table 3 of Radford et al., "Language
Models are Unsupervised Multitask Learners", 2019.
"""

import math
from pathlib import Path

import lambada
from perplexity import total_surprise

from cli import run
from commands import read_text
from utils import MODEL_SIZES, load_encoder_hparams_and_params

PAPER = {  # for each of MODEL_SIZES
    "LAMBADA, perplexity": (35.13, 15.60, 10.87, 8.63),
    "LAMBADA, accuracy in %": (45.99, 55.48, 60.12, 63.24),
    "WikiText-2, perplexity": (29.41, 22.76, 19.93, 18.34),
}


def measure_lambada(path, encoder, params, n_head, n_texts=None):
    """{measure: figure} of the last token of each text."""
    results = lambada.evaluate(lambada.read_texts(path)[:n_texts], encoder, params, n_head)
    perplexity, accuracy = results["last token"]
    return {"LAMBADA, perplexity": perplexity, "LAMBADA, accuracy in %": 100 * accuracy}


def measure_wikitext(path, encoder, params, n_head):
    """{measure: figure} of the whole text, but for its first token."""
    lines = [line if line.strip() else "" for line in read_text(path).splitlines(keepends=True)]
    ids = encoder.encode("\n\n".join(lines))  # total_surprise leaves out the first
    nats = total_surprise(ids, params, n_head, stride=len(params["wpe"]))
    return {"WikiText-2, perplexity": math.exp(nats / (len(ids) - 1))}


def main(data: str, n_texts: int = None, model_size: str = None):
    """Print a model's figures beside the paper's.

    Args:
        data: a folder with lambada_test.jsonl, wiki.test.raw, or both.
        n_texts: only the first so many texts of LAMBADA.
        model_size: as for gpt2.py.
    """
    lambada_path, wikitext_path = Path(data) / "lambada_test.jsonl", Path(data) / "wiki.test.raw"
    if not lambada_path.exists() and not wikitext_path.exists():
        raise ValueError(f"{data} is no folder with lambada_test.jsonl or wiki.test.raw")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    figures = {}
    if lambada_path.exists():
        figures |= measure_lambada(lambada_path, encoder, params, hparams["n_head"], n_texts)
    if wikitext_path.exists():
        figures |= measure_wikitext(wikitext_path, encoder, params, hparams["n_head"])
    print(f"{'':24s}{'here':>9s}", *(f"{size:>8s}" for size in MODEL_SIZES))
    for name, figure in figures.items():
        print(f"{name:24s}{figure:9.2f}", *(f"{published:8.2f}" for published in PAPER[name]))


if __name__ == "__main__":
    run(main)
