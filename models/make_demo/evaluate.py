"""Measure the demo model on held-out worlds. The figures are for its model card.

    python -m models.make_demo.evaluate

All figures come from this project's own forward pass in float32. transformers computes the loss, too.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.exit_status import run
from generation.batches import generate_batch
from generation.scoring import score
from gpt2 import gpt2
from models.make_demo.make_text import TRAINING, read_held_out
from utils import load_encoder_hparams_and_params

OTHER_GENDER = {
    "he": ["she"],
    "she": ["he"],
    "him": ["her"],
    "his": ["her"],
    "her": ["him", "his"],
    "himself": ["herself"],
    "herself": ["himself"],
}
N_OPENINGS, N_GREEDY_TOKENS = 100, 120
N_SAMPLES, N_SAMPLED_TOKENS = 200, 250
BATCH_SIZE = 25


def token_ends(ids, encoder):
    """Return where each token ends in its text, in bytes. ids [n_seq] -> [n_seq]."""
    return np.cumsum([len(encoder.decode_bytes([token_id])) for token_id in ids])


def prefers(pronoun, before, logits, encoder):
    """Does the pronoun score higher than the other gender's? logits [n_vocab] come after the text `before`.

    Only the first tokens are compared: " him" stands for " himself".
    """

    def logit(word):
        cased = word.capitalize() if pronoun[0].isupper() else word
        space = " " if before.endswith(" ") else ""
        return logits[encoder.encode(space + cased)[0]]

    return all(logit(pronoun.lower()) > logit(other) for other in OTHER_GENDER[pronoun.lower()])


def measure_recall(documents, encoder, params, n_head):
    """Return {kind: [right or wrong for each case]}: is each token of the case's word the greedy choice?

    For a pronoun, the question is whether it is more probable than those of the other gender.
    """
    results = {}
    for document in tqdm(documents, desc="recall", leave=False):
        text = document["text"]
        ids = np.array(encoder.encode(text))
        ends = token_ends(ids, encoder)
        logits = gpt2(ids, **params, n_head=n_head)  # [n_seq, n_vocab]
        for kind, start, end in document["cases"]:
            if start == 0:
                continue  # nothing determines the first word of a text
            in_word = (ends > len(text[:start].encode())) & (ends <= len(text[:end].encode()))
            tokens = np.flatnonzero(in_word)
            if kind == "pronoun":
                right = prefers(text[start:end], text[:start], logits[tokens[0] - 1], encoder)
            else:
                right = np.array_equal(logits[tokens - 1].argmax(axis=-1), ids[tokens])
            results.setdefault(kind, []).append(right)
    return results


def continue_all(prompts, encoder, params, n_head, n_tokens, **sampling):
    """Continue each prompt, a list of ids, up to the end of the text. Return the new ids of each."""
    outputs = [[] for _ in prompts]
    stop_id = encoder.end_of_text
    for start in tqdm(range(0, len(prompts), BATCH_SIZE), desc="generate", leave=False):
        batch = prompts[start : start + BATCH_SIZE]
        seeds = range(start, start + len(batch))
        tokens = generate_batch(batch, params, n_head, n_tokens, stop_id=stop_id, seeds=seeds, **sampling)
        for row, token_id, _ in tokens:
            outputs[start + row].append(token_id)
    return outputs


def has_8_gram_twice(ids):
    n_grams = [tuple(ids[n : n + 8]) for n in range(len(ids) - 7)]
    return len(set(n_grams)) < len(n_grams)


def measure_repetition(documents, encoder, params, n_head):
    """Return the share of greedy texts with an 8-gram twice. Each starts with 8 tokens of a held-out one."""
    openings = [encoder.encode(document["text"])[:8] for document in documents[:N_OPENINGS]]
    texts = continue_all(openings, encoder, params, n_head, N_GREEDY_TOKENS)
    return np.mean([has_8_gram_twice(opening + ids) for opening, ids in zip(openings, texts, strict=True)])


def measure_samples(encoder, params, n_head):
    """Return the share of samples that end by themselves, and the share of their quotations that close."""
    prompts = [[encoder.end_of_text]] * N_SAMPLES
    texts = continue_all(prompts, encoder, params, n_head, N_SAMPLED_TOKENS, temperature=0.8, top_p=0.9)
    ended = [encoder.decode(ids) for ids in texts if len(ids) < N_SAMPLED_TOKENS]
    marks = np.array([paragraph.count('"') for text in ended for paragraph in text.split("\n")])
    n_quotations = ((marks + 1) // 2).sum()  # an odd number of marks leaves one open
    n_open = (marks % 2).sum()
    return len(ended) / N_SAMPLES, 1 - n_open / n_quotations if n_quotations else np.nan


def measure_loss(documents, encoder, log_probs):
    """Return nats per token and bits per byte. The end of text stands before and after each document.

    `log_probs` is a function: ids [n_seq] -> the log-probability of each but the first, [n_seq - 1].
    """
    end = encoder.end_of_text
    scores = np.concatenate(
        [
            log_probs([end, *encoder.encode(document["text"]), end])
            for document in tqdm(documents, desc="loss", leave=False)
        ]
    )
    n_bytes = sum(len(document["text"].encode()) for document in documents)
    return -scores.mean(), -scores.sum() / np.log(2) / n_bytes


def transformers_log_probs(params, hparams):
    """Return the function that `measure_loss` takes, computed by transformers' GPT2LMHeadModel."""
    import torch

    from tests.support.transformers_model import reference_logits, reference_model

    model = reference_model(params, hparams)

    def log_probs(ids):
        logits = torch.from_numpy(reference_logits(model, [ids[:-1]])[0])  # [n_seq - 1, n_vocab]
        return -torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none").numpy()

    return log_probs


def main(folder: str = None, n_documents: int = 1000, model_size: str = "demo"):
    """Print the figures of the model card.

    Args:
        folder: has held_out.jsonl. The default is models/demo_training.
        n_documents: the number of held-out documents, for recall and loss.
        model_size: the model, as for gpt2.py.
    """
    if n_documents < N_OPENINGS:
        raise ValueError(f"n_documents must be at least {N_OPENINGS}, not {n_documents}")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    n_head = hparams["n_head"]
    documents = read_held_out(Path(folder or TRAINING) / "held_out.jsonl", n_documents)

    for kind, results in sorted(measure_recall(documents, encoder, params, n_head).items()):
        print(f"{kind}: {np.mean(results):.1%} of {len(results):,} cases")
    print(f"greedy texts with an 8-gram twice: {measure_repetition(documents, encoder, params, n_head):.1%}")
    ended, closed = measure_samples(encoder, params, n_head)
    print(f"samples that end within {N_SAMPLED_TOKENS} tokens: {ended:.1%}")
    print(f"quotations that close: {closed:.1%}")
    for name, log_probs in {
        "gpt2.py": lambda ids: score(ids, params, n_head),
        "transformers": transformers_log_probs(params, hparams),
    }.items():
        nats, bits = measure_loss(documents, encoder, log_probs)
        print(f"held-out loss, {name}: {nats:.4f} nats per token, {bits:.4f} bits per byte")


if __name__ == "__main__":
    run(main)
