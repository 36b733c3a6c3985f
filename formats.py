"""The files in a model's folder, in OpenAI's layout or Hugging Face's, to a tokenizer, hparams and params."""

import os
import re

import numpy as np

from checkpoint import (
    CheckpointError,
    check_tf_tensors,
    list_shards,
    read_index,
    read_safetensors,
    read_safetensors_header,
    read_tf_checkpoint,
)
from encoder import (
    END_OF_TEXT,
    HUB_TOKENIZERS,
    MAX_VOCABULARY_SIZE,
    OPENAI_TOKENIZER,
    Encoder,
    make_encoder,
    parse_tokenizer,
    read_encoder,
    read_vocabulary,
    tokenizer_files,
)
from files import faults_of, read_json

OPENAI_FILES = (
    "hparams.json",
    "encoder.json",
    "vocab.bpe",
    "model.ckpt.index",
    "model.ckpt.data-00000-of-00001",
)
DATA_FILE = OPENAI_FILES[-1]
SHARDS = "model.safetensors.index.json"  # where Hugging Face's weights are in several files, it names them
OPTIONAL = ("added_tokens.json", "tokenizer_config.json", "generation_config.json")
SIZES = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")

# Embeddings may have more rows than there are tokens, to make their number a round one, but not many more.
MAX_PADDING = 10_000

# What is in a Hugging Face model's config.json under another name.
CONFIG_NAMES = {"n_vocab": "vocab_size", "n_ctx": "n_positions"}

# Names that mean the same to transformers as ours; both may be there.
ALIASES = {
    "n_ctx": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
}

# What else in a config.json has a say in what is computed -> the values with which gpt2.py computes it, the
# first of which is meant where the name is missing. In float32, reorder_and_upcast_attn changes nothing.
SUPPORTED = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False, True),
    "reorder_and_upcast_attn": (False, True),
    "tie_word_embeddings": (True, False),
    "add_cross_attention": (False,),
    "is_causal": (True,),
    "sliding_window": (None,),
    "layer_types": (None,),
    "attention_chunk_size": (None,),
    "is_encoder_decoder": (False,),
    "pruned_heads": (None, {}),
    "quantization_config": (None,),
    "auto_map": (None,),
}


# Which files there are.


def missing_files(folder):
    """The files that a model's folder lacks; none where it is complete in one of the two layouts."""
    return min(missing_hub_files(folder), missing_openai_files(folder), key=len)


def files_of(folder):
    """The files of the model in a folder that lacks none."""
    return hub_files_of(folder) if missing_openai_files(folder) else OPENAI_FILES


def missing_openai_files(folder):
    return [file for file in OPENAI_FILES if not is_in(folder)(file)]


def missing_hub_files(folder):
    return [file for file in hub_files_of(folder) if not is_in(folder)(file)]


def hub_files_of(folder):
    return hub_files(is_in(folder), lambda: list_shards(folder / SHARDS))


def is_in(folder):
    """A function that says whether there is a file of a name in the folder."""
    return lambda file: os.path.isfile(folder / file)  # where that is forbidden, there is none


def hub_files(has, list_shards):
    """The files that a model in Hugging Face's layout has; which ones, depends on those that are there.

    Args:
        has: a function that says whether there is a file of a name.
        list_shards: a function that returns the files with the weights, called where they are several.
    """
    files = ["config.json", *tokenizer_files(has, HUB_TOKENIZERS)]
    files += [file for file in OPTIONAL if has(file)]
    if has("model.safetensors") or not has(SHARDS):
        return [*files, "model.safetensors"]
    return [*files, SHARDS, *list_shards()]


# Loading.


def load_folder(folder):
    """Load the model in a folder that lacks no files.

    Returns:
        encoder, hparams, params: see `utils.load_encoder_hparams_and_params`.
        paths: the files with the weights.

    Raises:
        CheckpointError: a file is damaged, or they do not belong together.
        FileNotFoundError: a file has gone.
    """
    return load_hub_folder(folder) if missing_openai_files(folder) else load_openai_folder(folder)


def load_openai_folder(folder):
    hparams = load_hparams(folder / "hparams.json")
    encoder = read_encoder(folder, OPENAI_TOKENIZER)
    n_vocab = hparams["n_vocab"]
    if len(encoder.encoder) != n_vocab or set(encoder.decoder) != set(range(n_vocab)):
        raise CheckpointError(
            f"{folder}: encoder.json does not have the ids 0 to n_vocab - 1 of hparams.json"
        )
    if n_vocab != 256 + len(encoder.bpe_ranks) + 1 or encoder.end_of_text is None:
        raise CheckpointError(
            f"{folder}: encoder.json is not the 256 bytes, the merges of vocab.bpe, and {END_OF_TEXT}"
        )
    params = load_gpt2_params_from_tf_ckpt(folder / "model.ckpt", hparams)
    return encoder, hparams, params, [folder / DATA_FILE]


def load_hub_folder(folder):
    config = load_config(folder / "config.json")
    path = folder / "model.safetensors"
    paths = [path]
    if not path.is_file():
        path = folder / SHARDS
        paths = [path, *(folder / shard for shard in list_shards(path))]
    params = load_gpt2_params_from_safetensors(path, config)
    encoder, n_vocab = load_hub_encoder(folder), config["n_vocab"]
    n_tokens = len(encoder.decoder)
    if max(encoder.decoder) >= n_vocab:
        raise CheckpointError(
            f"{folder}: the tokenizer has id {max(encoder.decoder)}, vocab_size is {n_vocab}"
        )
    if n_vocab > n_tokens + MAX_PADDING:
        raise CheckpointError(f"{folder}: the tokenizer has {n_tokens} tokens, vocab_size is {n_vocab}")
    encoder.decoder = dict.fromkeys(range(n_vocab), "") | encoder.decoder
    encoder.end_of_text = end_of_text(folder, config, encoder)
    return encoder, {name: config[name] for name in SIZES}, params, paths


def load_hub_encoder(folder):
    """The tokenizer in Hugging Face's layout; CheckpointError if it does other things than Encoder."""
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    for name in ("add_prefix_space", "add_bos_token"):
        if settings.get(name):
            raise CheckpointError(f"{path}: {name} {settings[name]!r} is not supported")
    encoder = read_encoder(folder, tokenizer_files(is_in(folder), HUB_TOKENIZERS))
    if len(encoder.decoder) < len(encoder.encoder):
        raise CheckpointError(f"{folder}: two of the tokenizer's tokens have the same id")
    return encoder


def end_of_text(folder, config, encoder):
    """The id that ends a text: generation_config.json's, or config.json's, or that of END_OF_TEXT."""
    path = folder / "generation_config.json"
    eos = (read_json(path) if path.is_file() else {}).get("eos_token_id", config.get("eos_token_id"))
    if isinstance(eos, list) and len(eos) == 1:
        (eos,) = eos
    if eos is not None and (type(eos) is not int or eos < 0):
        raise CheckpointError(f"{folder}: eos_token_id {eos!r} is not supported, only one id")
    if eos is None or eos >= config["n_vocab"]:  # GPT-2's own, in a model with fewer tokens
        eos = encoder.end_of_text
    if eos is None:
        raise CheckpointError(f"{folder}: there is no eos_token_id, and the tokenizer has no {END_OF_TEXT}")
    return eos


def load_hparams(path):
    """Read and check hparams.json."""
    hparams = read_json(path)
    with faults_of(path):
        check_sizes(hparams, {})
    return {name: hparams[name] for name in SIZES}


def load_config(path):
    """Read and check a Hugging Face model's config.json -> its values, those of SIZES under our names."""
    config = read_json(path)
    with faults_of(path):
        for name, values in SUPPORTED.items():
            if config.get(name, values[0]) not in values:
                raise CheckpointError(f"{name} {config[name]!r} is not supported, only {list(values)}")
        for name, theirs in CONFIG_NAMES.items():
            config[name] = config.get(theirs)
        check_sizes(config, CONFIG_NAMES)
        for name, alias in ALIASES.items():
            if config.get(alias, config[name]) != config[name]:
                raise CheckpointError(f"{alias} {config[alias]!r} is not {name} {config[name]!r}")
        n_inner, eps = config.get("n_inner"), config.get("layer_norm_epsilon", 1e-5)
        if n_inner is not None and (type(n_inner) is not int or n_inner < 1):
            raise CheckpointError("n_inner is not a whole number from 1 up")
        if type(eps) is not float or not 0 < eps < 1:
            raise CheckpointError("layer_norm_epsilon is not a number between 0 and 1")
    return config


def check_sizes(hparams, names_in_file):
    """CheckpointError unless SIZES are numbers that go together. `names_in_file`: how the file calls some."""
    for name in SIZES:
        if type(hparams.get(name)) is not int or hparams[name] < 1:
            raise CheckpointError(f"{names_in_file.get(name, name)} is not a whole number from 1 up")
    if hparams["n_embd"] % hparams["n_head"]:
        raise CheckpointError("n_embd is not a multiple of n_head")


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
    prefix = "transformer." if "transformer.wte.weight" in tensors else ""
    mask = re.compile(rf"{re.escape(prefix)}h\.\d+\.attn\.(bias|masked_bias)")  # constants of older versions
    tensors = {name: tensor for name, tensor in tensors.items() if not mask.fullmatch(name)}

    def hub_name(name):  # h0/attn/c_attn/w -> transformer.h.0.attn.c_attn.weight
        name = re.sub(r"^h(\d)", r"h.\1", name).replace("/", ".")
        name = name.removesuffix(".g").removesuffix(".w")
        return f"{prefix}{name[:-1]}bias" if name.endswith(".b") else f"{prefix}{name}.weight"

    lm_head = tensors.pop("lm_head.weight", None)
    with faults_of(path):
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


# Checking.


def check_file(file, path):
    """CheckpointError unless the file at `path` can be a model's `file`, and fits those beside it.

    `path` may have another name, as a download does that is not complete; those beside it are named as usual.
    """
    if file == "hparams.json":
        load_hparams(path)
    elif file == "config.json":
        load_config(path)
    elif file in ("tokenizer_config.json", "generation_config.json"):
        read_json(path)
    elif file in ("encoder.json", "vocab.json", "added_tokens.json"):
        read_vocabulary(path)
    elif file in ("vocab.bpe", "merges.txt"):
        vocabulary = path.with_name("encoder.json" if file == "vocab.bpe" else "vocab.json")
        encoder = make_encoder(vocabulary, path)
        if file == "vocab.bpe" and len(encoder.encoder) != 256 + len(encoder.bpe_ranks) + 1:
            raise CheckpointError(f"{path}: its lines are not as many as encoder.json has tokens")
    elif file == "tokenizer.json":
        tokenizer = read_json(path, MAX_VOCABULARY_SIZE)
        with faults_of(path):
            Encoder(*parse_tokenizer(tokenizer))
    elif file == "model.ckpt.index":
        read_index(path)
    elif file == DATA_FILE:
        check_data(path.with_name("model.ckpt.index"), path)
    elif file == SHARDS:
        list_shards(path)
    elif file.endswith(".safetensors"):
        read_safetensors_header(path)


def check_data(index_path, path):
    """DamagedTensor unless every tensor in a checkpoint's data matches its checksum in the index.

    It takes some seconds for each gigabyte, which a bar on stderr shows. Raises what `check_tf_tensors` does.
    """
    from tqdm import tqdm  # here, where it slows no other start

    size = path.stat().st_size
    with tqdm(total=size, desc="Verifying", unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for name, offset, n_bytes, is_good in check_tf_tensors(index_path, path):
            if not is_good:
                raise DamagedTensor(f"{path}: tensor {name} does not match its checksum", offset)
            bar.update(n_bytes)


class DamagedTensor(CheckpointError):
    """A tensor does not match its checksum. It begins at the byte `offset`; all before it do."""

    def __init__(self, message, offset):
        super().__init__(message)
        self.offset = offset
