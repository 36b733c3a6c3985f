"""Save a model in Hugging Face's layout: config.json, model.safetensors, vocab.json and merges.txt.

`load_encoder_hparams_and_params` loads such a folder, and so does transformers.
"""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from encoder import END_OF_TEXT, Encoder, bytes_to_unicode

# Our name of a parameter -> Hugging Face's. Names that are not here are the same.
HUB_NAMES = {"wte": "wte.weight", "wpe": "wpe.weight", "blocks": "h"}
HUB_NAMES |= {"g": "weight", "w": "weight", "b": "bias"}


def byte_encoder():
    """A tokenizer without merges. Its tokens are the 256 bytes and <|endoftext|>."""
    tokens = [*bytes_to_unicode().values(), END_OF_TEXT]
    return Encoder({token: token_id for token_id, token in enumerate(tokens)}, [])


@contextmanager
def new_folder(path):
    """Yield a temporary folder, and rename it to `path` on success. On any error, delete it.

    Raises:
        ValueError: `path` already exists, or its parent folder does not.
    """
    if os.path.lexists(path):
        raise ValueError(f"{path} already exists: delete it, or choose another folder with --out")
    if not path.parent.is_dir():
        raise ValueError(f"cannot create {path.name}: there is no folder {path.parent}")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()
        yield folder
        os.replace(folder, path)


def save_model(folder, encoder, hparams, params):
    """Write the four files of a model.

    The model must have OpenAI's architecture: no lm_head, and the default eps and activation.
    """
    config = {"model_type": "gpt2", "vocab_size": hparams["n_vocab"], "n_positions": hparams["n_ctx"]}
    config |= {name: hparams[name] for name in ("n_embd", "n_head", "n_layer")}
    config |= {"bos_token_id": encoder.end_of_text, "eos_token_id": encoder.end_of_text}
    merges = ["#version: 0.2", *map(" ".join, encoder.bpe_ranks)]
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(encoder.encoder), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(save(hub_tensors(params), metadata={"format": "pt"}))


def hub_tensors(tree, prefix=""):
    """Flatten nested parameters: -> {"h.0.attn.c_attn.weight": array, ...}, with Hugging Face's names."""
    if not isinstance(tree, (dict, list)):
        return {prefix: np.ascontiguousarray(tree)}
    tensors = {}
    for name, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        tensors |= hub_tensors(value, f"{prefix}.{HUB_NAMES.get(name, name)}".lstrip("."))
    return tensors
