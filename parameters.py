"""Named arrays, with OpenAI's names or Hugging Face's, to the nested dicts that `gpt2` takes."""

import re

import numpy as np

from checkpoint import read_tf_checkpoint
from files import CheckpointError, faults_of
from safetensors_file import read_safetensors


def load_gpt2_params_from_tf_ckpt(tf_ckpt_path, hparams):
    """Read a TensorFlow checkpoint of GPT-2 and nest its variables as `gpt2` takes them.

    Args:
        tf_ckpt_path: the checkpoint's prefix, ".../model.ckpt".
        hparams: say what the shape of each variable must be.

    Raises:
        CheckpointError: a variable is missing, has another shape or type, or is one too many.
    """
    variables = read_tf_checkpoint(tf_ckpt_path)
    model = {name: value for name, value in variables.items() if name.startswith("model/")}
    for name, value in model.items():
        if name.endswith("/w") and value.ndim == 3 and len(value) == 1:
            model[name] = value[0]  # a convolution of width 1: [1, n_in, n_out] -> [n_in, n_out]
    with faults_of(tf_ckpt_path):
        return build_params(model, hparams, "model/{}".format)


def load_gpt2_params_from_safetensors(path, config):
    """Read the weights of a Hugging Face GPT-2, and nest them as `gpt2` takes them.

    Args:
        path: model.safetensors, or model.safetensors.index.json.
        config: what `load_config` returns.

    Raises:
        CheckpointError: a tensor is missing, has another shape or type, or is one too many.
    """
    tensors = read_safetensors(path)
    with faults_of(path):
        return nest_hub_tensors(tensors, config)


def nest_hub_tensors(tensors, config):
    """{Hugging Face's name: array} -> the nested dicts that `gpt2` takes. Raises as the function above."""
    prefix = "transformer." if "transformer.wte.weight" in tensors else ""
    mask = re.compile(rf"{re.escape(prefix)}h\.\d+\.attn\.(bias|masked_bias)")  # constants of older versions
    tensors = {name: tensor for name, tensor in tensors.items() if not mask.fullmatch(name)}

    def hub_name(name):  # h0/attn/c_attn/w -> transformer.h.0.attn.c_attn.weight
        name = re.sub(r"^h(\d)", r"h.\1", name).replace("/", ".")
        name = name.removesuffix(".g").removesuffix(".w")
        return f"{prefix}{name[:-1]}bias" if name.endswith(".b") else f"{prefix}{name}.weight"

    lm_head = tensors.pop("lm_head.weight", None)
    params = build_params(tensors, config, hub_name)
    wte = params["wte"]
    if lm_head is None and not config.get("tie_word_embeddings", True):
        raise CheckpointError("there is no lm_head.weight, though config.json says that it is not wte")
    if lm_head is not None and (lm_head.shape, lm_head.dtype) != (wte.shape, wte.dtype):
        raise CheckpointError(f"lm_head.weight is {lm_head.dtype} {list(lm_head.shape)}, wte is not")
    if lm_head is not None and not np.array_equal(lm_head, wte):
        params["lm_head"] = lm_head
    return params


def build_params(variables, hparams, stored_name):
    """Named arrays to the nested dicts that `gpt2` takes.

    Args:
        variables: {name: array}; is emptied.
        hparams: the sizes; and, where they are not GPT-2's own, n_inner, layer_norm_epsilon and
            scale_attn_by_inverse_layer_idx, as in a config.json.
        stored_name: a function from our name of a parameter, "h0/attn/c_attn/w", to the one in `variables`.

    Raises:
        CheckpointError: an array is missing, has another shape or type, or is one too many.
    """
    n_embd = hparams["n_embd"]
    n_inner = hparams.get("n_inner") or 4 * n_embd
    eps = hparams.get("layer_norm_epsilon", 1e-5)
    extra = {} if eps == 1e-5 else {"eps": eps}  # goes to layer_norm with g and b

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
        if hparams.get("scale_attn_by_inverse_layer_idx"):  # the scores, and so the queries
            scale = np.repeat(np.float32([1 / (layer + 1), 1, 1]), n_embd)  # [3*n_embd]
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
