"""Saving: a model as load_encoder_hparams_and_params returns it, to the folder that it was loaded from.

The layout is Hugging Face's: config.json, model.safetensors, vocab.json and merges.txt. formats.py reads it,
and so does transformers.
"""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import common  # noqa: F401  (the way to encoder.py)
import numpy as np
from safetensors.numpy import save

from encoder import END_OF_TEXT, Encoder, bytes_to_unicode

# What names of ours are in Hugging Face's files; the others are the same.
HUB_NAMES = {"wte": "wte.weight", "wpe": "wpe.weight", "blocks": "h"}
HUB_NAMES |= {"g": "weight", "w": "weight", "b": "bias"}


def byte_encoder():
    """A tokenizer without merges: its tokens are the 256 bytes and <|endoftext|>."""
    tokens = [*bytes_to_unicode().values(), END_OF_TEXT]
    return Encoder({token: id for id, token in enumerate(tokens)}, [])


@contextmanager
def new_folder(path):
    """Yield a folder to fill, which gets its name when all went well. If not, nothing is left of it.

    Raises:
        ValueError: at once, if there is something of that name, or no folder to make it in.
    """
    if os.path.lexists(path):
        raise ValueError(f"{path} is there already: delete it, or give another name with --out")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent} to make {path.name} in")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()
        yield folder
        os.replace(folder, path)


def save_model(folder, encoder, hparams, params):
    """Write a model's four files into the folder.

    The model must be as OpenAI's are: without lm_head, and with layer_norm's usual eps.
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
    """Nested parameters -> {"h.0.attn.c_attn.weight": array, ...}, by Hugging Face's names."""
    if not isinstance(tree, (dict, list)):
        return {prefix: np.ascontiguousarray(tree)}
    tensors = {}
    for name, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        tensors |= hub_tensors(value, f"{prefix}.{HUB_NAMES.get(name, name)}".lstrip("."))
    return tensors
