"""Load a model from a folder: which files it has, in OpenAI's or Hugging Face's layout, and what they mean.

- OpenAI: hparams.json, encoder.json, vocab.bpe, model.ckpt.*
- Hugging Face: config.json, model.safetensors, and tokenizer.json or both vocab.json and merges.txt
"""

import os

from encoder import END_OF_TEXT
from loading.glibc_memory import keep_freed_memory
from loading.model_config import SIZES, load_config, load_hparams
from loading.parameter_tree import load_gpt2_params_from_safetensors, load_gpt2_params_from_tf_ckpt
from loading.safetensors import list_shards
from loading.tokenizer_files import (
    HUB_TOKENIZERS,
    OPENAI_TOKENIZER,
    choose_tokenizer_files,
    read_encoder,
)
from loading.untrusted_files import CheckpointError, read_json

DATA_FILE = "model.ckpt.data-00000-of-00001"
OPENAI_FILES = ("hparams.json", "encoder.json", "vocab.bpe", "model.ckpt.index", DATA_FILE)
SHARD_INDEX = "model.safetensors.index.json"  # names the files of a sharded model
OPTIONAL_FILES = ("added_tokens.json", "tokenizer_config.json", "generation_config.json")

# The embeddings may have more rows than the tokenizer has tokens: some models pad n_vocab to a round number.
MAX_PADDING = 10_000


def missing_files(folder):
    """The files that a model folder lacks, in the layout that lacks fewer. Empty if it is complete."""
    return min(missing_hub_files(folder), missing_openai_files(folder), key=len)


def model_files(folder):
    """The files of the model in a complete folder."""
    return find_hub_files(folder) if missing_openai_files(folder) else OPENAI_FILES


def missing_openai_files(folder):
    return [file for file in OPENAI_FILES if not is_in(folder)(file)]


def missing_hub_files(folder):
    return [file for file in find_hub_files(folder) if not is_in(folder)(file)]


def find_hub_files(folder):
    """The files that a folder in Hugging Face's layout must have. See `hub_files`."""
    return hub_files(is_in(folder), lambda: list_shards(folder / SHARD_INDEX))


def is_in(folder):
    """Make a function from a file name to whether the file is in the folder."""
    return lambda file: os.path.isfile(folder / file)  # False if the folder cannot be read


def hub_files(has_file, find_shards):
    """The files that a model in Hugging Face's layout must have. They depend on the files that exist.

    Args:
        has_file: a function from a file name to whether the file exists.
        find_shards: a function that returns the shards; called only for a sharded model.
    """
    files = ["config.json", *choose_tokenizer_files(has_file, HUB_TOKENIZERS)]
    files += [file for file in OPTIONAL_FILES if has_file(file)]
    if has_file("model.safetensors") or not has_file(SHARD_INDEX):
        return [*files, "model.safetensors"]
    return [*files, SHARD_INDEX, *find_shards()]


def load_folder(folder):
    """Load the model in a complete folder.

    Returns:
        encoder, hparams, params: see `utils.load_encoder_hparams_and_params`.
        weight_paths: the files that contain the weights.

    Raises:
        CheckpointError: a file is damaged, or the files contradict each other.
        FileNotFoundError: a file does not exist any more.
    """
    keep_freed_memory()
    return load_hub_folder(folder) if missing_openai_files(folder) else load_openai_folder(folder)


def load_openai_folder(folder):
    """`load_folder` for OpenAI's layout."""
    hparams = load_hparams(folder / "hparams.json")
    encoder = read_encoder(folder, OPENAI_TOKENIZER)
    n_vocab = hparams["n_vocab"]
    if len(encoder.encoder) != n_vocab or set(encoder.decoder) != set(range(n_vocab)):
        raise CheckpointError(
            f"{folder}: encoder.json does not have the ids 0 to n_vocab - 1 of hparams.json"
        )
    if n_vocab != 256 + len(encoder.bpe_ranks) + 1 or encoder.end_of_text is None:
        raise CheckpointError(
            f"{folder}: encoder.json must have the 256 bytes, the merges in vocab.bpe, and {END_OF_TEXT}"
        )
    params = load_gpt2_params_from_tf_ckpt(folder / "model.ckpt", hparams)
    return encoder, hparams, params, [folder / DATA_FILE]


def load_hub_folder(folder):
    """`load_folder` for Hugging Face's layout."""
    config = load_config(folder / "config.json")
    path = folder / "model.safetensors"
    paths = [path]
    if not path.is_file():
        path = folder / SHARD_INDEX
        paths = [path, *(folder / shard for shard in list_shards(path))]
    params = load_gpt2_params_from_safetensors(path, config)
    encoder, n_vocab = load_hub_encoder(folder), config["n_vocab"]
    n_tokens, max_id = len(encoder.decoder), max(encoder.decoder)
    if max_id >= n_vocab:
        raise CheckpointError(f"{folder}: the tokenizer has id {max_id}, but vocab_size is {n_vocab}")
    if n_vocab > n_tokens + MAX_PADDING:
        raise CheckpointError(f"{folder}: the tokenizer has {n_tokens} tokens, but vocab_size is {n_vocab}")
    encoder.decoder = dict.fromkeys(range(n_vocab), "") | encoder.decoder  # padding decodes to no text
    encoder.end_of_text = find_end_of_text(folder, config, encoder)
    return encoder, {name: config[name] for name in SIZES}, params, paths


def load_hub_encoder(folder):
    """Load the tokenizer in Hugging Face's layout. Raises CheckpointError if it is not supported."""
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    for name in ("add_prefix_space", "add_bos_token"):
        if settings.get(name):
            raise CheckpointError(f"{path}: {name} {settings[name]!r} is not supported")
    encoder = read_encoder(folder, choose_tokenizer_files(is_in(folder), HUB_TOKENIZERS))
    if len(encoder.decoder) < len(encoder.encoder):
        raise CheckpointError(f"{folder}: two tokens of the tokenizer have the same id")
    return encoder


def find_end_of_text(folder, config, encoder):
    """The id that ends a text: eos_token_id of generation_config.json or config.json, else END_OF_TEXT."""
    path = folder / "generation_config.json"
    eos = (read_json(path) if path.is_file() else {}).get("eos_token_id", config.get("eos_token_id"))
    if isinstance(eos, list) and len(eos) == 1:
        (eos,) = eos
    if eos is not None and (type(eos) is not int or eos < 0):
        raise CheckpointError(f"{folder}: eos_token_id {eos!r} is not supported, only one id")
    if eos is None or eos >= config["n_vocab"]:  # some small models keep GPT-2's 50256
        eos = encoder.end_of_text
    if eos is None:
        raise CheckpointError(f"{folder}: there is no eos_token_id, and the tokenizer has no {END_OF_TEXT}")
    return eos
