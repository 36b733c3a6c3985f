"""Perplexity and LAMBADA from plain loops over the logits of transformers."""

import math

import torch

IGNORED = -100  # the label that torch's cross entropy ignores


def reference_surprise(reference, ids, context, stride):
    """The total loss over windows, in nats, as in transformers' guide to perplexity.

    Each window ends `stride` tokens after the previous one. Its labels are the tokens without a score so far.
    """
    total, end = 0.0, 0
    while end < len(ids) - 1:
        n_new = min(context if end == 0 else stride, len(ids) - 1 - end)
        end += n_new
        inputs = torch.tensor([ids[max(0, end - context) : end + 1]])
        labels = inputs.clone()
        labels[:, :-n_new] = IGNORED
        with torch.no_grad():  # the last token is only a label: the inputs must fit the context
            logits = reference(inputs[:, :-1]).logits
        losses = torch.nn.functional.cross_entropy(logits[0], labels[0, 1:], reduction="sum")
        total += losses.item()
    return total


def reference_lambada(encoder, reference, texts):
    """Both LAMBADA scores: {"last token": (perplexity, accuracy), "whole word": (perplexity, accuracy)}."""
    last, whole = [], []
    for text in texts:
        before, _, word = text.rstrip().rpartition(" ")
        word_ids = encoder.encode(f" {word}")
        ids = (encoder.encode(before) + word_ids)[-257:]
        with torch.no_grad():
            log_probs = torch.log_softmax(reference(torch.tensor([ids[:-1]])).logits[0], dim=-1)
        rows = log_probs[-len(word_ids) :]
        scores = [row[token_id].item() for row, token_id in zip(rows, word_ids, strict=True)]
        is_best = [row.argmax().item() == token_id for row, token_id in zip(rows, word_ids, strict=True)]
        last.append((scores[-1], is_best[-1]))
        whole.append((sum(scores), all(is_best)))

    def perplexity_and_accuracy(results):
        mean_score = sum(score for score, _ in results) / len(results)
        return math.exp(-mean_score), sum(is_best for _, is_best in results) / len(results)

    return {"last token": perplexity_and_accuracy(last), "whole word": perplexity_and_accuracy(whole)}
