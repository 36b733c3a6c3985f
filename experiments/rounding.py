"""How far float32 is from the truth: the same forward pass in float64, compared layer by layer.

    python experiments/rounding.py "Once upon a time there was a king who had three"

float32 keeps 24 binary digits of a number, so each rounding is off by up to 6e-8 of it; a forward pass makes
millions of roundings. Here all weights become float64, whose own errors are 2**29 times smaller, and the
functions of gpt2.py compute in it: only the mask is float32, and that is 0 or hides all.
"""

import numpy as np
from common import encode, hidden_states

from cli import run
from gpt2 import gpt2
from utils import load_encoder_hparams_and_params


def to_float64(params):
    """The same tree of dicts and lists, with arrays of float64."""
    if isinstance(params, dict):
        return {name: to_float64(value) for name, value in params.items()}
    if isinstance(params, list):
        return [to_float64(value) for value in params]
    return params.astype(np.float64) if isinstance(params, np.ndarray) else params


def all_states(ids, params, n_head):
    """What is computed on the way -> {name: [n_seq, n_embd], ..., "logits": [n_seq, n_vocab]}."""
    names = ["embedding", *(f"layer {layer}" for layer in range(len(params["blocks"])))]
    states = dict(zip(names, hidden_states(ids, params, n_head), strict=True))
    return states | {"logits": gpt2(ids, **params, n_head=n_head)}


def rms(x):
    """The root of the mean square of all values, a number."""
    return np.sqrt(np.mean(x * x))


def main(prompt: str, model_size: str = None):
    """Print how far float32 is from float64 after each layer.

    Args:
        prompt: the text.
        model_size: as for gpt2.py.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids, n_head = encode(encoder, prompt, params), hparams["n_head"]
    exact = all_states(ids, to_float64(params), n_head)
    print("              size (rms)  error (rms)  error (max)  error / size")
    for name, rounded in all_states(ids, params, n_head).items():
        error = rounded - exact[name]  # float32 - float64 is float64
        size = rms(exact[name])
        print(f"{name:12s}{size:12.4g}{rms(error):13.2e}{np.abs(error).max():13.2e}{rms(error) / size:14.2e}")
    ranked = np.sort(exact["logits"], axis=-1)
    print(f"the best two logits are {np.min(ranked[:, -1] - ranked[:, -2]):.2e} apart where they are closest")


if __name__ == "__main__":
    run(main)
