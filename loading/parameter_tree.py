"""Nest named arrays as `gpt2` takes them: {"wte", "wpe", "blocks": [...], "ln_f"}.

OpenAI's names, such as "h0/attn/c_attn/w", are the path of each array in this tree. Hugging Face's names are
translated: "transformer.h.0.attn.c_attn.weight".
"""

import re

import numpy as np

from loading.safetensors import read_safetensors
from loading.shard_index import read_shards
from loading.tf_checkpoint import read_tf_checkpoint
from loading.untrusted_files import CheckpointError, error_context


def load_gpt2_params_from_tf_ckpt(tf_ckpt_path, hparams):
    """Read a TensorFlow checkpoint of GPT-2 and nest its variables.

    Args:
        tf_ckpt_path: the path of the checkpoint without its endings, ".../model.ckpt".
        hparams: determine the shape of each variable.

    Raises:
        CheckpointError: a file is damaged; or a variable is missing, unknown, or has another shape or dtype.
        FileNotFoundError: a file does not exist.
    """
    variables = read_tf_checkpoint(tf_ckpt_path)
    model = {name: value for name, value in variables.items() if name.startswith("model/")}
    for name, value in model.items():
        if name.endswith("/w") and value.ndim == 3 and len(value) == 1:
            model[name] = value[0]  # a convolution of width 1: [1, n_in, n_out] -> [n_in, n_out]
    with error_context(tf_ckpt_path):
        return build_params(model, hparams, "model/{}".format)


def load_gpt2_params_from_hub(path, config):
    """Read the weights of a Hugging Face GPT-2 and nest them. Raises as `load_gpt2_params_from_tf_ckpt`.

    Args:
        path: one of `loading.model_folder.WEIGHT_FILES`.
        config: the result of `load_config`.
    """
    read_file = read_safetensors
    if path.name.startswith("pytorch_model"):
        from loading.pytorch_checkpoint import read_pytorch_tensors as read_file  # on use: a slow import
    tensors = read_shards(path, read_file) if path.suffix == ".json" else read_file(path)
    with error_context(path):
        return nest_hub_tensors(tensors, config)


def nest_hub_tensors(tensors, config):
    """Nest {Hugging Face's name: array}. Raises CheckpointError as `build_params` does."""
    prefix = "transformer." if "transformer.wte.weight" in tensors else ""
    mask = re.compile(rf"{re.escape(prefix)}h\.\d+\.attn\.(bias|masked_bias)")  # constants in old files
    tensors = {name: tensor for name, tensor in tensors.items() if not mask.fullmatch(name)}

    def hub_name(name):  # h0/attn/c_attn/w -> transformer.h.0.attn.c_attn.weight
        name = re.sub(r"^h(\d)", r"h.\1", name).replace("/", ".")
        name = name.removesuffix(".g").removesuffix(".w")
        return f"{prefix}{name[:-1]}bias" if name.endswith(".b") else f"{prefix}{name}.weight"

    lm_head = tensors.pop("lm_head.weight", None)
    params = build_params(tensors, config, hub_name)
    wte = params["wte"]
    if lm_head is None:
        if not config.get("tie_word_embeddings", True):
            raise CheckpointError("there is no lm_head.weight, but config.json does not tie the embeddings")
        return params
    if (lm_head.shape, lm_head.dtype) != (wte.shape, wte.dtype):
        shapes = f"{lm_head.dtype} {list(lm_head.shape)}, but wte is {wte.dtype} {list(wte.shape)}"
        raise CheckpointError(f"lm_head.weight is {shapes}")
    if not np.array_equal(lm_head, wte):
        params["lm_head"] = lm_head
    return params


def build_params(variables, hparams, stored_name):
    """Nest named arrays as `gpt2` takes them.

    Args:
        variables: {name: array}. This function empties it.
        hparams: the sizes, and optionally n_inner, layer_norm_epsilon and scale_attn_by_inverse_layer_idx, as
            in config.json.
        stored_name: a function from a path in the tree, "h0/attn/c_attn/w", to the name in `variables`.

    Raises:
        CheckpointError: an array is missing, unknown, or has another shape or dtype.
    """
    n_embd = hparams["n_embd"]
    n_inner = hparams.get("n_inner") or 4 * n_embd
    eps = hparams.get("layer_norm_epsilon", 1e-5)
    extra = {} if eps == 1e-5 else {"eps": eps}  # an argument of layer_norm, next to g and b

    def take(name, *shape):
        name = stored_name(name)
        variable = variables.pop(name, None)
        if variable is None:
            raise CheckpointError(f"there is no variable {name}")
        if variable.shape != shape or variable.dtype != np.float32:
            found = f"{variable.dtype} {list(variable.shape)}"
            raise CheckpointError(f"{name} is {found}, not float32 {list(shape)}")
        return variable

    def norm(name):
        return {"g": take(f"{name}/g", n_embd), "b": take(f"{name}/b", n_embd), **extra}

    def linear(name, n_in, n_out):
        return {"w": take(f"{name}/w", n_in, n_out), "b": take(f"{name}/b", n_out)}

    def block(layer):
        c_attn = linear(f"h{layer}/attn/c_attn", n_embd, 3 * n_embd)
        if hparams.get("scale_attn_by_inverse_layer_idx"):  # scaled queries make scaled attention scores
            scale = np.repeat(np.float32([1 / (layer + 1), 1, 1]), n_embd)  # q, k, v: [3*n_embd]
            c_attn = {"w": c_attn["w"] * scale, "b": c_attn["b"] * scale}
        return {
            "ln_1": norm(f"h{layer}/ln_1"),
            "attn": {"c_attn": c_attn, "c_proj": linear(f"h{layer}/attn/c_proj", n_embd, n_embd)},
            "ln_2": norm(f"h{layer}/ln_2"),
            "mlp": {
                "c_fc": linear(f"h{layer}/mlp/c_fc", n_embd, n_inner),
                "c_proj": linear(f"h{layer}/mlp/c_proj", n_inner, n_embd),
            },
        }

    params = {
        "wte": take("wte", hparams["n_vocab"], n_embd),
        "wpe": take("wpe", hparams["n_ctx"], n_embd),
        "blocks": [block(layer) for layer in range(hparams["n_layer"])],
        "ln_f": norm("ln_f"),
    }
    if variables:
        raise CheckpointError(f"{min(variables)} is not in a model of {hparams['n_layer']} layers")
    return params
