"""Nest named arrays as `gpt2` takes them: {"wte", "wpe", "blocks": [...], "ln_f"}.

OpenAI's names, such as "h0/attn/c_attn/w", are the path of each array in this tree. Hugging Face's names are
translated: "transformer.h.0.attn.c_attn.weight".
"""

import re
from warnings import warn

import numpy as np

from loading.activation_functions import activation_argument
from loading.safetensors import read_safetensors
from loading.shard_index import read_shards
from loading.tf_checkpoint import read_tf_checkpoint
from loading.untrusted_files import CheckpointError, error_context

WRAPPERS = re.compile(r"\b(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
PREFIXES = re.compile(r"^((transformer|model)\.)+")
PARTS = re.compile(r"(h|wte|wpe|ln_f|lm_head)\.")
TF_PARTS = re.compile(r"model/.*/[gwb]$|model/w[tp]e$")  # not model/wte/Adam, which an optimizer stores
MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # constants in old files


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
    for name, value in variables.items():
        if name.endswith("/w") and value.ndim == 3 and len(value) == 1:
            variables[name] = value[0]  # a convolution of width 1: [1, n_in, n_out] -> [n_in, n_out]
    with error_context(tf_ckpt_path):
        params = build_params(variables, hparams, "model/{}".format)
        skip_extra(variables, TF_PARTS, hparams)
    return params


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
    """Nest {Hugging Face's name: array}. Warns of tensors outside GPT-2, such as the head of a classifier.

    Raises CheckpointError as `build_params` does, and if two tensors have the same name or one is unknown.
    """
    tensors = without_prefixes(tensors)
    tensors = {name: tensor for name, tensor in tensors.items() if not MASK.fullmatch(name)}
    is_tied = config.get("tie_word_embeddings", True)
    if is_tied and "wte.weight" not in tensors and "lm_head.weight" in tensors:
        tensors["wte.weight"] = tensors["lm_head.weight"]  # safetensors stores only one of two tied tensors
    lm_head = tensors.pop("lm_head.weight", None)
    params = build_params(tensors, config, hub_name)
    skip_extra(tensors, PARTS, config)
    wte = params["wte"]
    if lm_head is None:
        if not is_tied:
            raise CheckpointError("there is no lm_head.weight, but config.json does not tie the embeddings")
        return params
    if (lm_head.shape, lm_head.dtype) != (wte.shape, wte.dtype):
        shapes = f"{lm_head.dtype} {list(lm_head.shape)}, but wte is {wte.dtype} {list(wte.shape)}"
        raise CheckpointError(f"lm_head.weight is {shapes}")
    if not np.array_equal(lm_head, wte):
        params["lm_head"] = lm_head
    return params


def without_prefixes(tensors):
    """Remove what DataParallel, FSDP, torch.compile and transformers add to the names of tensors.

    Raises CheckpointError if two tensors get the same name, or if they are those of a LoRA adapter.
    """
    stripped = {PREFIXES.sub("", WRAPPERS.sub("", name)): tensor for name, tensor in tensors.items()}
    if len(stripped) < len(tensors):
        raise CheckpointError("two tensors have the same name without its prefix")
    if any(".lora_" in name for name in stripped):
        raise CheckpointError(
            "the weights have a LoRA adapter: merge it with merge_and_unload of peft, then save_pretrained"
        )
    return stripped


def hub_name(name):
    """h0/attn/c_attn/w -> h.0.attn.c_attn.weight."""
    name = re.sub(r"^h(\d)", r"h.\1", name).replace("/", ".")
    name = name.removesuffix(".g").removesuffix(".w")
    return f"{name[:-1]}bias" if name.endswith(".b") else f"{name}.weight"


def skip_extra(tensors, parts, hparams):
    """Warn of tensors that are left. Raises CheckpointError if one is in `parts`, the names of GPT-2."""
    if unknown := [name for name in tensors if parts.match(name)]:
        raise CheckpointError(f"{min(unknown)} is not in a GPT-2 of {hparams['n_layer']} layers")
    if tensors:
        names = ", ".join(sorted(tensors)[:5]) + (f" and {len(tensors) - 5} more" if len(tensors) > 5 else "")
        warn(f"tensors outside GPT-2 are skipped: {names}", stacklevel=2)


def build_params(variables, hparams, stored_name):
    """Nest named arrays as `gpt2` takes them.

    Args:
        variables: {name: array}. This function removes those that it uses.
        hparams: the sizes, and optionally n_inner, layer_norm_epsilon, activation_function and
            scale_attn_by_inverse_layer_idx, as in config.json.
        stored_name: a function from a path in the tree, "h0/attn/c_attn/w", to the name in `variables`.

    Raises:
        CheckpointError: an array is missing, or has another shape or dtype.
    """
    n_embd = hparams["n_embd"]
    n_inner = hparams.get("n_inner") or 4 * n_embd
    eps = hparams.get("layer_norm_epsilon", 1e-5)
    extra = {} if eps == 1e-5 else {"eps": eps}  # an argument of layer_norm, next to g and b
    activation = activation_argument(hparams.get("activation_function"))

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
                **activation,
            },
        }

    return {
        "wte": take("wte", hparams["n_vocab"], n_embd),
        "wpe": take("wpe", hparams["n_ctx"], n_embd),
        "blocks": [block(layer) for layer in range(hparams["n_layer"])],
        "ln_f": norm("ln_f"),
    }
