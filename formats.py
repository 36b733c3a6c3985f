"""A model's folder, in OpenAI's layout or in Hugging Face's: which files it has, and what they say."""

import os

from checkpoint import check_tf_tensors, read_index
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
from files import CheckpointError, faults_of, read_json
from parameters import load_gpt2_params_from_safetensors, load_gpt2_params_from_tf_ckpt
from safetensors_file import list_shards, read_safetensors_header

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


def hub_files(has, find_shards):
    """The files that a model in Hugging Face's layout has; which ones, depends on those that are there.

    Args:
        has: a function that says whether there is a file of a name.
        find_shards: a function that returns the files with the weights, called where they are several.
    """
    files = ["config.json", *tokenizer_files(has, HUB_TOKENIZERS)]
    files += [file for file in OPTIONAL if has(file)]
    if has("model.safetensors") or not has(SHARDS):
        return [*files, "model.safetensors"]
    return [*files, SHARDS, *find_shards()]


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
