"""Write a model with GPT-2's shapes and seeded random weights, in OpenAI's five files.

    python benchmarks/random_model.py FOLDER

The other benchmarks import this module first: it makes the project's modules importable.
"""

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.bundle_writer import write_bundle  # noqa: E402
from support.random_params import random_params  # noqa: E402

SIZES = {"124M": (768, 12, 12), "355M": (1024, 16, 24), "774M": (1280, 20, 36), "1558M": (1600, 25, 48)}
HPARAMS = {
    size: {"n_vocab": 50257, "n_ctx": 1024, "n_embd": n_embd, "n_head": n_head, "n_layer": n_layer}
    for size, (n_embd, n_head, n_layer) in SIZES.items()
}


def write_random_model(folder, hparams=HPARAMS["124M"], seed=0):
    """Write the five files into `folder`. OpenAI's tokenizer requires hparams["n_vocab"] to be 50257."""
    shapes = {name: hparams[name] for name in ("n_vocab", "n_ctx", "n_embd", "n_layer")}
    params = random_params(**shapes, std=0.02, seed=seed)
    variables = {}

    def collect(name, tree):
        if isinstance(tree, dict):
            for key, value in tree.items():
                collect(f"{name}/{key}", value)
        else:
            variables[name] = (
                tree[None] if name.endswith("/w") else tree
            )  # [1, n_in, n_out], as in OpenAI's files

    for layer, block in enumerate(params.pop("blocks")):
        collect(f"model/h{layer}", block)
    collect("model", params)
    write_bundle(folder / "model.ckpt", variables)
    (folder / "hparams.json").write_text(json.dumps(hparams))
    for file in ("encoder.json", "vocab.bpe"):
        shutil.copy(ROOT / "tests" / "data" / "gpt2" / file, folder)


if __name__ == "__main__":
    write_random_model(Path(sys.argv[1]))
