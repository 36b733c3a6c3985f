"""LAMBADA: how well a model predicts the last word of a text that needs all of the text to be guessed.

    python experiments/lambada.py lambada_test.jsonl

The file has a {"text": ...} on each line, as OpenAI's lambada_test.jsonl. There are two ways to count: the
last token, which may be only the end of the word; or the whole word, which is right if each of its tokens is
the likeliest, and as probable as all of them together. The data: Paperno et al., 2016, arXiv:1606.06031.
"""

import json

import numpy as np
from common import progress

from cli import run
from commands import read_text
from gpt2 import gpt2
from sampling import log_softmax
from utils import load_encoder_hparams_and_params


def read_texts(path):
    """A file of JSON lines -> [(text without its last word, the last word with its space)]."""
    texts = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        try:
            context, word = json.loads(line)["text"].strip().rsplit(" ", 1)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ValueError(f'{path}, line {number}: it is no {{"text": ...}} of several words') from None
        texts.append((context, f" {word}"))
    return texts


def predict(context, word, encoder, params, n_head):
    """For each token of the word, its log-probability and whether it is the likeliest: [n_word] each."""
    word_ids = encoder.encode(word)[-len(params["wpe"]) :]
    ids = [*encoder.encode(context), *word_ids][-len(params["wpe"]) - 1 :]  # the last of a long text
    logits = gpt2(ids[:-1], **params, n_head=n_head, n_logits=len(word_ids))  # [n_word, n_vocab]
    log_probs = log_softmax(logits)[np.arange(len(word_ids)), word_ids]  # [n_word, n_vocab] -> [n_word]
    return log_probs, np.argmax(logits, axis=-1) == word_ids


def evaluate(texts, encoder, params, n_head):
    """-> {"last token": (perplexity, accuracy), "whole word": (perplexity, accuracy)}."""
    last, whole = [], []
    for context, word in progress(texts, len(texts), "text"):
        log_probs, is_likeliest = predict(context, word, encoder, params, n_head)
        last.append((log_probs[-1], is_likeliest[-1]))
        whole.append((log_probs.sum(), is_likeliest.all()))
    results = {"last token": np.mean(last, axis=0), "whole word": np.mean(whole, axis=0)}
    return {name: (np.exp(-log_prob), accuracy) for name, (log_prob, accuracy) in results.items()}


def main(path: str, n_texts: int = None, model_size: str = None):
    """Print a model's perplexity and accuracy on LAMBADA.

    Args:
        path: the file, lambada_test.jsonl.
        n_texts: only the first so many texts.
        model_size: as for gpt2.py.
    """
    texts = read_texts(path)[:n_texts]
    if not texts:
        raise ValueError("n_texts must be 1 or more")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    print(f"{f'{len(texts)} texts':14s} perplexity  accuracy")
    for name, (perplexity, accuracy) in evaluate(texts, encoder, params, hparams["n_head"]).items():
        print(f"{name:14s} {perplexity:10.2f} {accuracy:9.2%}")


if __name__ == "__main__":
    run(main)
