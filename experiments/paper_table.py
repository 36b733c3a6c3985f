"""Compare a model's zero-shot results with the GPT-2 paper.

    python experiments/paper_table.py DATA

DATA is a folder with OpenAI's lambada_test.jsonl, WikiText-2's wiki.test.raw, or both. This script joins the
lines of WikiText with empty lines and moves the window by a whole context. Others come near the paper's
results in this way. The paper also removes artefacts such as " @-@ ".

Source: table 3 of Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.
"""

import math
from pathlib import Path

import lambada
from perplexity import total_surprise

from cli.exit_status import run
from cli.prompts import read_text
from utils import MODEL_SIZES, load_encoder_hparams_and_params

PAPER = {  # one column per model of MODEL_SIZES
    "LAMBADA, perplexity": (35.13, 15.60, 10.87, 8.63),
    "LAMBADA, accuracy in %": (45.99, 55.48, 60.12, 63.24),
    "WikiText-2, perplexity": (29.41, 22.76, 19.93, 18.34),
}


def measure_lambada(path, encoder, params, n_head, n_texts=None):
    """Score the last token of each text. Returns {name of the metric: value}."""
    results = lambada.evaluate(lambada.read_texts(path)[:n_texts], encoder, params, n_head)
    perplexity, accuracy = results["last token"]
    return {"LAMBADA, perplexity": perplexity, "LAMBADA, accuracy in %": 100 * accuracy}


def measure_wikitext(path, encoder, params, n_head):
    """Score all tokens but the first. Returns {name of the metric: value}."""
    lines = [line if line.strip() else "" for line in read_text(path).splitlines(keepends=True)]
    ids = encoder.encode("\n\n".join(lines))
    nats = total_surprise(ids, params, n_head, stride=len(params["wpe"]))
    return {"WikiText-2, perplexity": math.exp(nats / (len(ids) - 1))}


def main(data: str, n_texts: int = None, model_size: str = None):
    """Print a model's results beside the paper's.

    Args:
        data: a folder with lambada_test.jsonl, wiki.test.raw, or both.
        n_texts: use only the first n_texts texts of LAMBADA.
        model_size: the model, as for gpt2.py.
    """
    lambada_path, wikitext_path = Path(data) / "lambada_test.jsonl", Path(data) / "wiki.test.raw"
    if not lambada_path.exists() and not wikitext_path.exists():
        raise ValueError(f"{data} is not a folder with lambada_test.jsonl or wiki.test.raw")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    results = {}
    if lambada_path.exists():
        results |= measure_lambada(lambada_path, encoder, params, hparams["n_head"], n_texts)
    if wikitext_path.exists():
        results |= measure_wikitext(wikitext_path, encoder, params, hparams["n_head"])
    print(f"{'':24s}{'here':>9s}", *(f"{size:>8s}" for size in MODEL_SIZES))
    for name, value in results.items():
        print(f"{name:24s}{value:9.2f}", *(f"{published:8.2f}" for published in PAPER[name]))


if __name__ == "__main__":
    run(main)
