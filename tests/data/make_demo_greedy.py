"""Write demo_greedy.npz: 50 prompts, and 100 tokens that transformers' greedy `generate` appends to each.

    pip install -r tests/requirements-reference.txt
    PYTHONPATH=.:tests python tests/data/make_demo_greedy.py

A prompt is skipped if the logits of the two most probable tokens ever differ by less than 0.001. Their order
would depend on the rounding of the machine.
"""

import numpy as np
import torch
from support.paths import DATA
from support.transformers_model import reference_model

from utils import load_encoder_hparams_and_params

N_PROMPTS, N_TOKENS = 50, 100

_, hparams, params = load_encoder_hparams_and_params("demo")
model = reference_model(params, hparams)
with np.load(DATA / "demo_logits.npz") as file:  # its tenth prompt is the Gettysburg Address
    address = np.split(file["ids"], np.cumsum(file["lengths"]))[9].tolist()
rng = np.random.default_rng(0)


def random_prompt():
    """1 to 150 tokens: a part of the address, or random ids."""
    length = int(rng.integers(1, 151))
    if rng.random() < 0.5:
        start = int(rng.integers(len(address) - length))
        return address[start : start + length]
    return rng.integers(hparams["n_vocab"], size=length).tolist()


prompts, continuations, n_skipped = [], [], 0
while len(prompts) < N_PROMPTS:
    prompt = random_prompt()
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=N_TOKENS,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    top_two = torch.stack(output.scores)[:, 0].topk(2).values  # [n_tokens, 2]
    if (top_two[:, 0] - top_two[:, 1]).min() < 1e-3:
        n_skipped += 1
        continue
    prompts.append(prompt)
    continuations.append(output.sequences[0, len(prompt) :].numpy())

np.savez_compressed(
    DATA / "demo_greedy.npz",
    ids=np.concatenate(prompts).astype(np.int16),
    lengths=np.array([len(prompt) for prompt in prompts]),
    continuations=np.stack(continuations).astype(np.int16),
)
print(f"{len(prompts)} prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens")
print(f"skipped: {n_skipped}")
