"""`python gpt2_pico.py`: greedy decoding without a cache. Each token reads the whole text again."""

import numpy as np

from gpt2_pico import gpt2
from utils import load_encoder_hparams_and_params


def main(prompt: str, n_tokens_to_generate: int = 40, model_size: str = None, models_dir: str = None):
    """Continue a text with the 60 lines of gpt2_pico.py.

    Args:
        prompt: the text to continue.
        n_tokens_to_generate: the number of new tokens.
        model_size: as in gpt2.py.
        models_dir: as in gpt2.py.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size, models_dir)
    ids = encoder.encode(prompt)
    n_seq = len(ids) + n_tokens_to_generate
    if n_seq > hparams["n_ctx"]:
        raise ValueError(f"prompt and new tokens are {n_seq}; the context has room for {hparams['n_ctx']}")
    for _ in range(n_tokens_to_generate):
        logits = gpt2(ids, **params, n_head=hparams["n_head"])  # [n_seq, n_vocab]
        ids.append(int(np.argmax(logits[-1])))
    print(encoder.decode(ids[-n_tokens_to_generate:]))
