"""Run a microGPT, Karpathy's GPT in 200 lines of plain Python (2026), with the building blocks of GPT-2.

    python experiments/microgpt.py
    python experiments/microgpt.py my_names.json --temperature=1 --n_names=5 --seed=1

microGPT generates names character by character. One extra token, BOS, comes before and after each name. Its
model differs from GPT-2 in these points:

- RMSNorm replaces layer_norm. It is also applied to the embeddings, but not before the lm_head.
- ReLU replaces GELU. (The very first versions squared it.)
- There are no biases, and the lm_head is separate from wte.
- Numbers are float64, like Python's.

The default weights are those of the original after its training. With them and seed 42 the script prints the
original's 20 names. data/make_names.py trains other weights. To save your own, append to microgpt.py:

    weights = {name: [[p.data for p in row] for row in rows] for name, rows in state_dict.items()}
    json.dump({"chars": uchars, "n_head": n_head, "state_dict": weights}, open("my_names.json", "w"))

With NumPy you can also use np.savez("my_names.npz", chars=uchars, n_head=n_head, **weights).

Sources: https://karpathy.github.io/2026/02/12/microgpt/; RMSNorm: Zhang and Sennrich, 2019, arXiv:1910.07467.
"""

import random
from pathlib import Path

import numpy as np
from helpers.microgpt_file import load

from cli.exit_status import run
from gpt2 import apply_temperature, check_sampling, ffn, mha, new_cache, softmax

NAMES = Path(__file__).resolve().parent / "data" / "karpathy_names.json"
N_DOCS, N_WEIGHTS = 32_033, 4_192  # names in the original's training data, weights in its model


def rmsnorm(x):
    """Scale each token to a mean square of 1. [n_seq, n_embd] -> [n_seq, n_embd]."""
    return x * (np.mean(x * x, axis=-1, keepdims=True) + 1e-5) ** -0.5


def relu(x):
    """Rectified linear unit. [...] -> [...]."""
    return np.maximum(x, 0)


def microgpt_block(x, attn, mlp, n_head, cache=None):
    """Attention, then the feed-forward network; each adds to x. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(rmsnorm(x), **attn, n_head=n_head, cache=cache)
    return x + ffn(rmsnorm(x), **mlp, act=relu)


def microgpt(ids, wte, wpe, blocks, lm_head, n_head, cache=None, n_past=0):
    """Token ids to logits, like `gpt2`. The cache works in the same way. [n_seq] -> [n_seq, n_vocab]."""
    n_keys = n_past + np.shape(ids)[-1]
    x = rmsnorm(wte[np.asarray(ids)] + wpe[n_past:n_keys])  # [n_seq] -> [n_seq, n_embd]
    for layer, block in enumerate(blocks):
        past = None if cache is None else cache[layer, ..., :n_keys, :]  # [2, n_head, n_keys, head_dim]
        x = microgpt_block(x, **block, n_head=n_head, cache=past)  # -> [n_seq, n_embd]
    return x @ lm_head.T  # [n_seq, n_embd] @ [n_embd, n_vocab] -> [n_seq, n_vocab]


def rng_after_training(seed):
    """The original's random numbers, from where its sampling starts."""
    rng = random.Random(seed)
    rng.shuffle(list(range(N_DOCS)))  # the original shuffles its training data
    for _ in range(N_WEIGHTS):
        rng.gauss(0, 0.08)  # and draws its initial weights
    return rng


def sample(logits, temperature, rng):
    """Draw from softmax(logits / temperature) as the original does. 0 is greedy. [n_vocab] -> id."""
    if temperature == 0:
        return int(np.argmax(logits))
    probs = softmax(apply_temperature(logits, temperature))
    return rng.choices(range(len(probs)), weights=probs)[0]


def sample_name(params, n_head, temperature, rng):
    """Sample ids after BOS, up to the next BOS or to n_ctx ids. Returns the ids of the name."""
    bos = len(params["wte"]) - 1
    cache, ids = new_cache(params, n_head), [bos]
    for n_past in range(len(params["wpe"])):
        logits = microgpt(ids[-1:], **params, n_head=n_head, cache=cache, n_past=n_past)  # -> [1, n_vocab]
        next_id = sample(logits[-1], temperature, rng)
        if next_id == bos:
            break
        ids.append(next_id)
    return ids[1:]


def main(path: str = NAMES, n_names: int = 20, temperature: float = 0.5, seed: int = None):
    """Generate names with a microGPT.

    Args:
        path: a .json or .npz file with weights, in the format that this script's docstring describes. The
            default is data/karpathy_names.json.
        n_names: the number of names.
        temperature: 0 is greedy. Below 1 sharpens the distribution, above 1 flattens it.
        seed: the seed of Python's random module. The default is 42, as in the original.
    """
    check_sampling(temperature, top_k=0, top_p=1)
    chars, params, n_head = load(path)
    rng = rng_after_training(42 if seed is None else seed)
    for n in range(1, n_names + 1):
        ids = sample_name(params, n_head, temperature, rng)
        print(f"sample {n:2}: {''.join(chars[token_id] for token_id in ids)}")


if __name__ == "__main__":
    run(main)
