"""Writes demo_greedy.npz: 50 prompts and the 100 tokens that transformers' greedy `generate` adds to each.

    pip install -r tests/requirements-reference.txt && python tests/data/make_demo_greedy.py

A prompt is left out if somewhere the two likeliest tokens are within 0.001 of each other: which of them comes
first would depend on the rounding of the machine.
"""

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent)]

from reference import reference_model  # noqa: E402

from utils import load_encoder_hparams_and_params  # noqa: E402

N_PROMPTS, N_TOKENS = 50, 100

_, hparams, params = load_encoder_hparams_and_params("demo")
model = reference_model(params, hparams)
with np.load(HERE / "demo_logits.npz") as file:  # its tenth prompt is the Gettysburg Address
    address = np.split(file["ids"], np.cumsum(file["lengths"]))[9].tolist()
rng = np.random.default_rng(0)


def some_prompt():
    """Of 1 to 150 tokens: a piece of the address, or noise."""
    length = int(rng.integers(1, 151))
    if rng.random() < 0.5:
        start = int(rng.integers(len(address) - length))
        return address[start : start + length]
    return rng.integers(hparams["n_vocab"], size=length).tolist()


prompts, continuations, n_left_out = [], [], 0
while len(prompts) < N_PROMPTS:
    prompt = some_prompt()
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=N_TOKENS,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    two_likeliest = torch.stack(output.scores)[:, 0].topk(2).values  # [n_tokens, 2]
    if (two_likeliest[:, 0] - two_likeliest[:, 1]).min() < 1e-3:
        n_left_out += 1
        continue
    prompts.append(prompt)
    continuations.append(output.sequences[0, len(prompt) :].numpy())

np.savez_compressed(
    HERE / "demo_greedy.npz",
    ids=np.concatenate(prompts).astype(np.int16),
    lengths=np.array([len(prompt) for prompt in prompts]),
    continuations=np.stack(continuations).astype(np.int16),
)
print(f"{len(prompts)} prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens")
print(f"left out: {n_left_out}")
