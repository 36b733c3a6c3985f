"""Measure the rounding error of float32: compare each layer with the same forward pass in float64.

    python experiments/rounding.py "Once upon a time there was a king who had three"

float32 has 24 significant bits, so each operation has a relative error of up to 6e-8. A forward pass performs
millions of operations. This script converts all weights to float64, and the functions of gpt2.py then compute
in float64. The errors of float64 are 2**29 times smaller. Only the mask stays float32, which is exact here.
"""

import numpy as np
from helpers.hidden_states import hidden_states
from helpers.token_labels import encode_within_context

from cli.exit_status import run
from gpt2 import gpt2
from utils import load_encoder_hparams_and_params


def to_float64(params):
    """Convert all arrays in a tree of dicts and lists to float64."""
    if isinstance(params, dict):
        return {name: to_float64(value) for name, value in params.items()}
    if isinstance(params, list):
        return [to_float64(value) for value in params]
    return params.astype(np.float64) if isinstance(params, np.ndarray) else params


def all_states(ids, params, n_head):
    """All hidden states and the logits: {name: [n_seq, n_embd], ..., "logits": [n_seq, n_vocab]}."""
    names = ["embedding", *(f"layer {layer}" for layer in range(len(params["blocks"])))]
    states = dict(zip(names, hidden_states(ids, params, n_head), strict=True))
    return states | {"logits": gpt2(ids, **params, n_head=n_head)}


def rms(x):
    """The root mean square of all values. [...] -> float."""
    return np.sqrt(np.mean(x * x))


def main(prompt: str, model_size: str = None):
    """Print the difference between float32 and float64 after each layer.

    Args:
        prompt: the text.
        model_size: the model, as for gpt2.py.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids, n_head = encode_within_context(encoder, prompt, params), hparams["n_head"]
    exact = all_states(ids, to_float64(params), n_head)
    print("              size (rms)  error (rms)  error (max)  error / size")
    for name, rounded in all_states(ids, params, n_head).items():
        error = rounded - exact[name]  # float32 - float64 -> float64
        size = rms(exact[name])
        print(f"{name:12s}{size:12.4g}{rms(error):13.2e}{np.abs(error).max():13.2e}{rms(error) / size:14.2e}")
    ranked = np.sort(exact["logits"], axis=-1)
    print(f"smallest gap between the two highest logits: {np.min(ranked[:, -1] - ranked[:, -2]):.2e}")


if __name__ == "__main__":
    run(main)
