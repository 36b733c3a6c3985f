"""Read the checkpoints of minGPT, nanoGPT and their forks. They are GPT-2 in PyTorch's layout.

minGPT of 2020, and nanoGPT since June 2023, use the exact GELU. minGPT since 2022 uses the tanh form, like
GPT-2. Other files do not say which.

Formats: github.com/karpathy/minGPT and nanoGPT. The GELUs: Hendrycks and Gimpel, 2016, arXiv:1606.08415.
"""

import re
from pathlib import Path

import numpy as np

from gpt2 import gelu as tanh_gelu
from helpers.npz_file import read_npz
from loading.activation_functions import EXACT_GELU, TANH_GELU, exact_gelu
from loading.parameter_tree import nest_hub_tensors, without_prefixes
from loading.pytorch_checkpoint import read_state_dict
from loading.untrusted_files import CheckpointError, error_context
from loading.weight_order import check_finite

# The names in minGPT of 2020 -> the names since 2022, which are Hugging Face's.
NAMES_OF_2020 = {
    r"^tok_emb": "wte",
    r"^pos_emb": "wpe.weight",
    r"^blocks": "h",
    r"\bln1\b": "ln_1",
    r"\bln2\b": "ln_2",
    r"\battn\.proj": "attn.c_proj",
    r"\bmlp\.0": "mlp.c_fc",
    r"\bmlp\.2": "mlp.c_proj",
    r"^head": "lm_head",
}

MASKS = (".attn.bias", ".attn.masked_bias", ".attn.mask")  # constants, not parameters

ACTIVATIONS = {"exact": exact_gelu, "tanh": tanh_gelu}


def load(path, gelu=None):
    """Read a model. Returns params as `gpt2` takes them, and n_head, which is None if the file lacks it.

    Args:
        path: a file of torch.save or np.savez.
        gelu: "exact" or "tanh"; None finds it in the file.

    Raises:
        CheckpointError: the file is damaged, or a tensor is missing, unknown or has the wrong shape.
        ValueError: gelu is None, and the file does not tell.
    """
    path = Path(path).expanduser()
    stored, model_args = read_tensors(path)
    with error_context(path):
        tensors = to_hub_layout(stored)
        params = nest_hub_tensors(tensors, infer_sizes(tensors))
        check_finite(params, path)
        gelu = gelu or find_gelu(stored, model_args, is_tied="lm_head" not in params)
    if gelu is None:
        raise ValueError(f"{path} does not say which GELU the model uses: pass --gelu=exact or --gelu=tanh")
    for block in params["blocks"]:
        block["mlp"]["act"] = ACTIVATIONS[gelu]
    return params, model_args.get("n_head")


def find_gelu(stored, model_args, is_tied):
    """Find out which GELU a model uses -> "exact", "tanh", or None if the file does not tell.

    Args:
        stored: the tensors as in the file.
        model_args: nanoGPT's, or {}. Forks name their activation function there.
        is_tied: whether wte doubles as the lm_head, as in nanoGPT.

    Raises:
        CheckpointError: model_args names another activation function.
    """
    for name in ("activation", "activation_function", "hidden_act", "act"):
        if name in model_args:
            for gelu, names in {"exact": EXACT_GELU, "tanh": TANH_GELU}.items():
                if model_args[name] in names:
                    return gelu
            raise CheckpointError(f"{name} {model_args[name]!r:.80} is not supported, only GELU")
    has_masks = any(name.endswith(".attn.bias") for name in stored)
    if "tok_emb.weight" in stored or (model_args and is_tied and not has_masks):
        return "exact"  # minGPT of 2020; nanoGPT, but not before June 2023, with masks
    return "tanh" if has_masks and not is_tied else None  # minGPT since 2022


def read_tensors(path):
    """Read a file of torch.save or np.savez. Returns {name: float32 array} and model_args (nanoGPT) or {}."""
    if Path(path).suffix == ".npz":
        tensors, content = read_npz(path), {}
    else:
        tensors, content = read_state_dict(path)
    model_args = content.get("model_args")
    tensors = {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
    return tensors, model_args if type(model_args) is dict else {}


def to_hub_layout(tensors):
    """Convert minGPT's tensors to Hugging Face's names, weights [n_in, n_out], and a bias for each layer."""
    hub = {}
    for name, tensor in without_prefixes(tensors).items():
        for old, new in NAMES_OF_2020.items():
            name = re.sub(old, new, name)
        is_linear = name.startswith("h.") and tensor.ndim == 2
        if not name.endswith(MASKS):
            hub[name] = tensor.T if is_linear else tensor  # [n_out, n_in] -> [n_in, n_out]
    wpe = take(hub, "wpe.weight")
    hub["wpe.weight"] = wpe.reshape(wpe.shape[-2:])  # 2020: [1, n_ctx, n_embd] -> [n_ctx, n_embd]
    for name in [name for name in hub if ".query." in name]:
        parts = [take(hub, name.replace("query", part)) for part in ("query", "key", "value")]
        joined = np.concatenate(parts, axis=-1)  # w [n_embd, 3*n_embd], b [3*n_embd]
        hub[name.replace("query", "c_attn")] = joined
    for part in (r"h\..*\.c_", r"(h\..*\.)?ln_"):  # linear layers and norms: some models have no biases
        names = [name for name in hub if re.match(part, name)]
        if not any(name.endswith(".bias") for name in names):
            for name in names:
                n_out = hub[name].shape[-1:]
                hub[name.replace(".weight", ".bias")] = np.zeros(n_out, np.float32)
    if not any(name.endswith(MASKS) for name in tensors):  # not minGPT, which does not tie the embeddings
        for name, other in (("lm_head.weight", "wte.weight"), ("wte.weight", "lm_head.weight")):
            if name not in hub and other in hub:
                hub[name] = hub[other]  # some files store only one of two tied tensors
    return hub


def take(tensors, name):
    """Remove a tensor from the dict and return it. Raises CheckpointError if it is missing."""
    if name not in tensors:
        raise CheckpointError(f"{name} is missing")
    return tensors.pop(name)


def infer_sizes(tensors):
    """Infer all hparams but n_head from the shapes of Hugging Face's tensors."""
    try:
        n_vocab, n_embd = tensors["lm_head.weight"].shape
        n_ctx, _ = tensors["wpe.weight"].shape
        _, n_inner = tensors["h.0.mlp.c_fc.weight"].shape
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"lm_head, wpe or the first c_fc is missing or not a matrix: {error}") from None
    n_layer = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    sizes = {"n_vocab": n_vocab, "n_ctx": n_ctx, "n_embd": n_embd, "n_inner": n_inner, "n_layer": n_layer}
    return {**sizes, "tie_word_embeddings": False}  # nanoGPT, which ties them, stores both
