"""Write demo_logits.npz: float32 logits of transformers for 20 prompts, with the weights of the demo model.

    pip install -r tests/requirements-reference.txt
    PYTHONPATH=.:tests python tests/data/make_demo_logits.py

All logits would take 26 MB. So the file has 32 of the 4,096 columns for each position, plus the logarithm of
the sum of the exponentials, which depends on all columns. For the last position of each prompt, it has all.
"""

import numpy as np
from support.paths import DATA
from support.transformers_model import reference_logits, reference_model

from utils import load_encoder_hparams_and_params

GETTYSBURG_ADDRESS = """\
Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived \
in Liberty, and dedicated to the proposition that all men are created equal.

Now we are engaged in a great civil war, testing whether that nation, or any nation so conceived and \
so dedicated, can long endure. We are met on a great battle-field of that war. We have come to \
dedicate a portion of that field, as a final resting place for those who here gave their lives that \
that nation might live. It is altogether fitting and proper that we should do this.

But, in a larger sense, we can not dedicate -- we can not consecrate -- we can not hallow -- this \
ground. The brave men, living and dead, who struggled here, have consecrated it, far above our poor \
power to add or detract. The world will little note, nor long remember what we say here, but it can \
never forget what they did here."""

encoder, hparams, params = load_encoder_hparams_and_params("demo")
rng = np.random.default_rng(0)
address = encoder.encode(GETTYSBURG_ADDRESS)
texts = [address[:n] for n in (1, 2, 3, 5, 8, 13, 33, 64, 100, 250)]
noise = [
    rng.integers(hparams["n_vocab"], size=n).tolist() for n in (1, 4, 31, 64, 64, 127, 128, 200, 255, 256)
]
prompts = texts + noise
columns = np.sort(rng.choice(hparams["n_vocab"], 32, replace=False))

model = reference_model(params, hparams)
logits = [reference_logits(model, [ids])[0] for ids in prompts]  # each [n_seq, n_vocab]
every = np.concatenate(logits).astype(np.float64)  # [sum of n_seq, n_vocab]
highest = every.max(axis=-1, keepdims=True)
np.savez_compressed(
    DATA / "demo_logits.npz",
    ids=np.concatenate(prompts).astype(np.int32),
    lengths=np.array([len(ids) for ids in prompts]),
    columns=columns,
    column_logits=every[:, columns].astype(np.float32),
    logsumexp=highest[:, 0] + np.log(np.exp(every - highest).sum(axis=-1)),
    last_logits=np.stack([rows[-1] for rows in logits]),
)
print(f"{len(prompts)} prompts of {min(map(len, prompts))} to {max(map(len, prompts))} tokens")
