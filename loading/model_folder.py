"""Load a model from a folder: which files it has, in OpenAI's or Hugging Face's layout, and what they mean.

- OpenAI: hparams.json, encoder.json, vocab.bpe, model.ckpt.*
- Hugging Face: config.json, one of WEIGHT_FILES, and tokenizer.json or both vocab.json and merges.txt
"""

import os
from warnings import warn

from encoder import END_OF_TEXT
from loading.glibc_memory import keep_freed_memory
from loading.model_config import SIZES, load_config, load_hparams
from loading.parameter_tree import load_gpt2_params_from_hub, load_gpt2_params_from_tf_ckpt
from loading.shard_index import list_shards
from loading.tokenizer_files import (
    HUB_TOKENIZERS,
    choose_tokenizer_files,
    load_hub_encoder,
    load_openai_encoder,
)
from loading.untrusted_files import CheckpointError, read_json

DATA_FILE = "model.ckpt.data-00000-of-00001"
OPENAI_FILES = ("hparams.json", "encoder.json", "vocab.bpe", "model.ckpt.index", DATA_FILE)
# The weights in Hugging Face's layout, the preferred file first. An index names the files of a sharded model.
INDEX_ENDING = ".index.json"
WEIGHT_FILES = tuple(
    file + ending for file in ("model.safetensors", "pytorch_model.bin") for ending in ("", INDEX_ENDING)
)
OPTIONAL_FILES = (
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "generation_config.json",
)

GPT2_END_OF_TEXT = 50256

# Settings that would change a greedy text in transformers -> the value that changes nothing.
GENERATION_DEFAULTS = {
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "bad_words_ids": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "min_length": 0,
    "min_new_tokens": None,
}


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
    return hub_files(is_in(folder), lambda index: list_shards(folder / index))


def is_in(folder):
    """Make a function from a file name to whether the file is in the folder."""
    return lambda file: os.path.isfile(folder / file)  # False if the folder cannot be read


def hub_files(has_file, find_shards):
    """The files that a model in Hugging Face's layout must have. They depend on the files that exist.

    Args:
        has_file: a function from a file name to whether the file exists.
        find_shards: a function from the name of an index to the names of the shards.
    """
    files = ["config.json", *choose_tokenizer_files(has_file, HUB_TOKENIZERS)]
    files += [file for file in OPTIONAL_FILES if has_file(file)]
    weights = choose_weights(has_file)
    if weights.endswith(INDEX_ENDING):
        files += find_shards(weights)
    return [*files, weights]


def choose_weights(has_file):
    """The name of the weights: the first of WEIGHT_FILES that exists, else the first."""
    return next(filter(has_file, WEIGHT_FILES), WEIGHT_FILES[0])


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
    encoder = load_openai_encoder(folder)
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
    path = folder / choose_weights(is_in(folder))
    paths = [path]
    if path.name.endswith(INDEX_ENDING):
        paths += [folder / shard for shard in list_shards(path)]
    params = load_gpt2_params_from_hub(path, config)
    encoder, n_vocab = load_hub_encoder(folder), config["n_vocab"]
    encoder.decoder = dict.fromkeys(range(n_vocab), "") | encoder.decoder  # padding decodes to no text
    encoder.n_vocab = n_vocab
    set_special_ids(folder, config, encoder)
    return encoder, {name: config[name] for name in SIZES}, params, paths


def set_special_ids(folder, config, encoder):
    """Tell the encoder which ids begin and end a text, from generation_config.json or else config.json.

    As in transformers, the default is GPT-2's 50256, and an id beyond the vocabulary never appears.
    """
    path = folder / "generation_config.json"
    settings = config | (read_json(path) if path.is_file() else {})
    for name, default in GENERATION_DEFAULTS.items():
        if settings.get(name, default) not in (default, None):
            warn(f"{folder}: {name} {settings[name]!r:.80} in the model's settings is ignored", stacklevel=2)
    ids = {}
    for name in ("bos_token_id", "eos_token_id"):
        value = settings.get(name, GPT2_END_OF_TEXT)
        values = value if isinstance(value, list) else [value]
        if not all(value is None or type(value) is int for value in values):
            raise CheckpointError(f"{folder}: {name} {value!r} is not an id, a list of ids or null")
        ids[name] = [value for value in values if value is not None and 0 <= value < config["n_vocab"]]
    encoder.stop_ids = ids["eos_token_id"]
    encoder.end_of_text = next(iter(encoder.stop_ids), None)
    encoder.start_ids = (ids["bos_token_id"] or encoder.stop_ids)[:1]
