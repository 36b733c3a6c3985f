"""Run numoGPT, a small minGPT whose tokens are words. Measure its perplexity, or complete a text with it.

    python experiments/numogpt.py numogpt/model-6-4-4-64-5k.pth
    python experiments/numogpt.py numogpt/model-6-4-4-64-5k.pth --prompt="text"

The vocabulary is each distinct word of the training text, in order of first appearance, and then [UNK] for
all other words. Stop words stay in the vocabulary, but `encode` removes them from each text.

The published checkpoint has 4 layers, 4 heads and a context of 6 words. Its README reports val_loss=0.5704
and perplexity(PPL)=1.7690. This script and PyTorch compute 0.5703 and 1.7688 from the published files. The
text is the training text, so both figures measure how well the model fits its training data.

Source: https://github.com/diixo/numoGPT
"""

import re
from pathlib import Path
from warnings import warn

import numpy as np
from helpers.mingpt_files import load
from mingpt import loss

from cli.exit_status import run
from cli.prompts import read_text
from generation.scoring import format_exp
from gpt2 import gpt2

WORD = re.compile(r"\.?\w[\w'\.&]*\w|\w\+*#?")  # such as text, .net, q&a, c++ and c#; long-term is two words
UNKNOWN = "[UNK]"
PADDING = 8  # numoGPT rounds n_vocab up to a multiple of 8
BATCH_SIZE = 64  # windows


def split_words(text):
    """Split a text into its words, in lower case."""
    return WORD.findall(text.lower())


def build_vocabulary(text, n_vocab):
    """The words of the training text -> {word: id}. Raises ValueError if they do not fit n_vocab."""
    words = [*dict.fromkeys(split_words(text)), UNKNOWN]
    if not n_vocab - PADDING < len(words) <= n_vocab:
        raise ValueError(f"the text has {len(words) - 1} distinct words: this does not fit {n_vocab} tokens")
    return {word: token_id for token_id, word in enumerate(words)}


def encode(text, vocabulary, stop_words):
    """Remove the stop words of a text, and look up the ids of the others."""
    words = [word for word in split_words(text) if word not in stop_words]
    unknown = [word for word in words if word not in vocabulary]
    if unknown:
        warn(f"words outside the vocabulary become {UNKNOWN}: {', '.join(unknown[:5])}", stacklevel=2)
    return [vocabulary.get(word, vocabulary[UNKNOWN]) for word in words]


def decode(ids, vocabulary):
    """Join the words of the ids. The ids of the padding become [UNK]."""
    words = dict(enumerate(vocabulary))
    return " ".join(words.get(token_id, UNKNOWN) for token_id in ids)


def mean_loss(ids, params, n_head):
    """The mean loss of all windows of n_ctx tokens, in nats. Each window starts one token later."""
    n_ctx = len(params["wpe"])
    if len(ids) <= n_ctx:
        raise ValueError(f"the text has {len(ids)} words without stop words: it needs at least {n_ctx + 1}")
    windows = np.lib.stride_tricks.sliding_window_view(ids, n_ctx + 1)  # [n_windows, n_ctx + 1]
    total = 0.0
    for start in range(0, len(windows), BATCH_SIZE):
        batch = windows[start : start + BATCH_SIZE]  # [n_batch, n_ctx + 1]
        total += len(batch) * loss(batch[:, :-1], batch[:, 1:], params, n_head)  # inputs and their targets
    return total / len(windows)


def complete(ids, params, n_head, n_tokens):
    """Append the most probable token n_tokens times. Like minGPT, the model reads the last n_ctx tokens."""
    n_ctx = len(params["wpe"])
    for _ in range(n_tokens):
        logits = gpt2(ids[-n_ctx:], **params, n_head=n_head, n_logits=1)  # [n_seq] -> [1, n_vocab]
        ids = [*ids, int(np.argmax(logits))]
    return ids


def main(
    checkpoint: str,
    text: str = None,
    stop_words: str = None,
    prompt: str = None,
    n_tokens_to_generate: int = 5,
    n_head: int = 4,
):
    """Print the loss and the perplexity of a numoGPT on its training text, or complete a prompt.

    Args:
        checkpoint: the model, such as model-6-4-4-64-5k.pth.
        text: the training text. The default is train-nn.txt in the folder of the checkpoint.
        stop_words: a file of stop words. The default is stopwords.txt in the folder of the checkpoint.
        prompt: words to continue, without their stop words. Without a prompt, the script prints the loss.
        n_tokens_to_generate: the number of new words. Each is the most probable one.
        n_head: the number of attention heads. The checkpoint does not contain it.
    """
    params, _ = load(checkpoint)
    n_vocab, n_embd = params["wte"].shape
    if n_embd % n_head:
        raise ValueError(f"n_head must be a divisor of n_embd, {n_embd}, not {n_head}")
    training_text = read_text(text or Path(checkpoint).parent / "train-nn.txt")
    stop_set = set(read_text(stop_words or Path(checkpoint).parent / "stopwords.txt").split())
    vocabulary = build_vocabulary(training_text, n_vocab)
    ids = encode(training_text if prompt is None else prompt, vocabulary, stop_set)
    if prompt is None:
        nats = mean_loss(ids, params, n_head)
        print(f"val_loss={nats:.4f}, perplexity(PPL)={format_exp(nats).strip()}")
    elif ids:
        print(decode(complete(ids, params, n_head, n_tokens_to_generate), vocabulary))
    else:
        raise ValueError("the prompt has no words, or only stop words")


if __name__ == "__main__":
    run(main)
