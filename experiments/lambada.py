"""LAMBADA: predict the last word of a passage. The last sentence alone does not suffice to guess it.

    python experiments/lambada.py lambada_test.jsonl

Each line of the file is a {"text": ...}, as in OpenAI's lambada_test.jsonl. The script prints two scores.
"last token" scores only the last token, which may be the end of a word. "whole word" counts a word as correct
if greedy decoding gives all of its tokens, and multiplies their probabilities.

Data: Paperno et al., "The LAMBADA dataset", 2016, arXiv:1606.06031.
"""

import numpy as np
from helpers.progress_bar import progress_bar

from cli.exit_status import run
from cli.prompts import read_text, split_texts
from generation.scoring import log_softmax
from gpt2 import gpt2
from utils import load_encoder_hparams_and_params


def read_texts(path):
    """Read the texts. Returns [(text without its last word, last word with its space)]."""
    texts = []
    for place, text in split_texts(read_text(path), path, "text").items():
        context, _, word = text.strip().rpartition(" ")
        if not context:
            raise ValueError(f"{path}, {place}: expected two or more words")
        texts.append((context, f" {word}"))
    if not texts:
        raise ValueError(f"{path} has no texts")
    return texts


def predict(context, word, encoder, params, n_head):
    """Score each token of the word. Returns log-probabilities [n_word] and is_greedy [n_word]."""
    word_ids = encoder.encode(word)[-len(params["wpe"]) :]
    ids = [*encoder.encode(context), *word_ids][-len(params["wpe"]) - 1 :]  # the end of a long text
    logits = gpt2(ids[:-1], **params, n_head=n_head, n_logits=len(word_ids))  # [n_word, n_vocab]
    log_probs = log_softmax(logits)[np.arange(len(word_ids)), word_ids]  # [n_word, n_vocab] -> [n_word]
    return log_probs, np.argmax(logits, axis=-1) == word_ids


def evaluate(texts, encoder, params, n_head):
    """Returns {"last token": (perplexity, accuracy), "whole word": (perplexity, accuracy)}."""
    last, whole = [], []
    for context, word in progress_bar(texts, len(texts), "text"):
        log_probs, is_greedy = predict(context, word, encoder, params, n_head)
        last.append((log_probs[-1], is_greedy[-1]))
        whole.append((log_probs.sum(), is_greedy.all()))
    results = {"last token": np.mean(last, axis=0), "whole word": np.mean(whole, axis=0)}
    return {name: (np.exp(-log_prob), accuracy) for name, (log_prob, accuracy) in results.items()}


def main(path: str, n_texts: int = None, model_size: str = None):
    """Print the perplexity and the accuracy of a model on LAMBADA.

    Args:
        path: the data set, lambada_test.jsonl.
        n_texts: use only the first n_texts texts.
        model_size: the model, as for gpt2.py.
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
