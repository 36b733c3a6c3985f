"""Save a model in Hugging Face's layout: config.json, model.safetensors, and the files of its tokenizer.

`load_encoder_hparams_and_params` loads such a folder, and so does transformers.
"""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from encoder import END_OF_TEXT, Encoder, bytes_to_unicode
from loading.activation_functions import exact_gelu
from loading.tokenizer_files import OPENAI_TOKENIZER
from utils import MODEL_SIZES

# Our name of a parameter -> Hugging Face's. Names that are not here are the same.
HUB_NAMES = {
    "wte": "transformer.wte.weight",
    "wpe": "transformer.wpe.weight",
    "blocks": "transformer.h",
    "ln_f": "transformer.ln_f",
    "lm_head": "lm_head.weight",
    "g": "weight",
    "w": "weight",
    "b": "bias",
}

HUB_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
)

# tokenizer_config.json of a tokenizer without <|endoftext|>, which transformers would add with a new id.
WITHOUT_END_OF_TEXT = {"tokenizer_class": "GPT2Tokenizer"}
WITHOUT_END_OF_TEXT |= dict.fromkeys(("bos_token", "eos_token", "unk_token"))


def byte_encoder():
    """A tokenizer without merges. Its tokens are the 256 bytes and <|endoftext|>."""
    tokens = [*bytes_to_unicode().values(), END_OF_TEXT]
    return Encoder({token: token_id for token_id, token in enumerate(tokens)}, [])


@contextmanager
def new_folder(path):
    """Yield a temporary folder, and rename it to `path` on success. On any error, delete it.

    Raises:
        ValueError: `path` already exists, its parent folder does not, or gpt2.py has a model of this name.
    """
    if str(path) in (*MODEL_SIZES, "demo"):
        raise ValueError(f"{path} is the name of another model: choose another folder")
    if os.path.lexists(path):
        raise ValueError(f"{path} already exists: delete it, or choose another folder")
    if not path.parent.is_dir():
        raise ValueError(f"cannot create {path.name}: there is no folder {path.parent}")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()
        yield folder
        os.replace(folder, path)


def save_model(folder, encoder, hparams, params):
    """Write the files of a model: those of `save_tokenizer` and of `save_weights`."""
    save_tokenizer(folder, encoder)
    save_weights(folder, hparams, params, encoder.end_of_text)


def save_tokenizer(folder, encoder):
    """Write vocab.json, merges.txt, and a tokenizer_config.json if there is no <|endoftext|>.

    The tokenizer must have no other added tokens.
    """
    merges = ["#version: 0.2", *map(" ".join, encoder.bpe_ranks)]
    (folder / "vocab.json").write_text(json.dumps(encoder.encoder), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    if encoder.end_of_text is None:
        settings = json.dumps(WITHOUT_END_OF_TEXT, indent=2)
        (folder / "tokenizer_config.json").write_text(settings, encoding="utf-8")


def copy_tokenizer(source, folder):
    """Copy the files of a tokenizer, in OpenAI's or Hugging Face's layout, from the folder `source`."""
    names = dict(zip(OPENAI_TOKENIZER, ("vocab.json", "merges.txt"), strict=True))
    if not all((source / name).is_file() for name in names):
        names = {name: name for name in HUB_TOKENIZER_FILES if (source / name).is_file()}
    for name, new_name in names.items():
        shutil.copyfile(source / name, folder / new_name)


def save_weights(folder, hparams, params, end_of_text=None):
    """Write config.json and model.safetensors.

    eps must be 1e-5, and the activation a GELU, exact or tanh.

    Args:
        hparams: n_vocab, n_ctx, n_embd, n_head and n_layer.
        end_of_text: the id that begins and ends a text, or None.
    """
    mlp = params["blocks"][0]["mlp"]
    config = {"model_type": "gpt2", "vocab_size": hparams["n_vocab"], "n_positions": hparams["n_ctx"]}
    config |= {name: hparams[name] for name in ("n_embd", "n_head", "n_layer")}
    config |= {"n_inner": len(mlp["c_proj"]["w"])}  # [n_inner, n_embd]
    config |= {"activation_function": "gelu" if mlp.get("act") is exact_gelu else "gelu_new"}
    config |= {"tie_word_embeddings": "lm_head" not in params}
    config |= {"bos_token_id": end_of_text, "eos_token_id": end_of_text}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(save(hub_tensors(params), metadata={"format": "pt"}))


def hub_tensors(tree, prefix=""):
    """Flatten nested parameters: -> {"transformer.wte.weight": array, ...}, with Hugging Face's names."""
    if callable(tree):
        return {}  # an activation function
    if not isinstance(tree, (dict, list)):
        return {prefix: np.ascontiguousarray(tree)}
    tensors = {}
    for name, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        tensors |= hub_tensors(value, f"{prefix}.{HUB_NAMES.get(name, name)}".lstrip("."))
    return tensors
