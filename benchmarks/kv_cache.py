"""What a token costs at the beginning and at the end of a long text: it should hardly depend on where it is.

    pip install -r requirements-dev.txt && python benchmarks/kv_cache.py

Without a model_size the weights are random, in the shapes of 124M; the text is not looked at.
"""

import tempfile
import time
from pathlib import Path

import fire
import numpy as np
from random_model import write_random_model
from tqdm import tqdm

from gpt2 import generate
from utils import load_encoder_hparams_and_params


def main(model_size=None, n_prompt=100, n_tokens=900, n_median=50):
    """Print the median times of the first and the last n_median of n_tokens tokens, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        if model_size is None:
            write_random_model(Path(folder))
        _, hparams, params = load_encoder_hparams_and_params(model_size or folder)
        prompt = np.random.default_rng(0).integers(hparams["n_vocab"], size=n_prompt)
        times = []
        start = time.perf_counter()
        ids = generate(prompt, params, hparams["n_head"], n_tokens)
        for _ in tqdm(ids, total=n_tokens, unit="token", leave=False, disable=None):
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
    first, last = np.median(times[1 : 1 + n_median]), np.median(times[-n_median:])
    print(f"prompt of {n_prompt} tokens and the first token: {times[0] * 1000:.0f} ms")
    print(f"the next {n_median} tokens: {first * 1000:.1f} ms each (median)")
    print(f"the last {n_median} of {n_tokens} tokens: {last * 1000:.1f} ms each (median)")
    print(f"the last to the next: {last / first:.2f}")


if __name__ == "__main__":
    fire.Fire(main)
