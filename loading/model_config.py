"""Read the configuration of a model: hparams.json of OpenAI, config.json of Hugging Face."""

from loading.activation_functions import EXACT_GELU, TANH_GELU
from loading.untrusted_files import CheckpointError, error_context, read_json

MODEL_SIZES = ("124M", "355M", "774M", "1558M")  # of OpenAI
SIZES = ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer")

# Our name -> its name in config.json. The other sizes have the same name there.
CONFIG_NAMES = {"n_vocab": "vocab_size", "n_ctx": "n_positions"}

# Our name -> its alias in transformers. A config.json may contain both.
ALIASES = {
    "n_ctx": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
}

# Settings in config.json that change the computation -> the values that gpt2.py supports, the default first.
# reorder_and_upcast_attn changes nothing in float32.
SUPPORTED_CONFIG = {
    "model_type": ("gpt2",),
    "activation_function": (*TANH_GELU, *EXACT_GELU),
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


def load_hparams(path):
    """Read and check hparams.json -> {name: int} of SIZES. Raises CheckpointError, FileNotFoundError."""
    hparams = read_json(path)
    with error_context(path):
        check_sizes(hparams)
    return {name: hparams[name] for name in SIZES}


def load_config(path):
    """Read and check config.json -> all its values, plus SIZES under our names.

    Raises:
        CheckpointError: the file is damaged, or a setting is not supported.
        FileNotFoundError: the file does not exist.
    """
    config = read_json(path)
    with error_context(path):
        for name, values in SUPPORTED_CONFIG.items():
            if config.get(name, values[0]) not in values:
                raise CheckpointError(f"{name} {config[name]!r} is not supported, only {list(values)}")
        for name, config_name in CONFIG_NAMES.items():
            config[name] = config.get(config_name)
        for name, alias in ALIASES.items():
            if config.get(name) is None:
                config[name] = config.get(alias)
        check_sizes(config, CONFIG_NAMES)
        for name, alias in ALIASES.items():
            if config.get(alias, config[name]) != config[name]:
                raise CheckpointError(f"{alias} {config[alias]!r} contradicts {name} {config[name]!r}")
        n_inner, eps = config.get("n_inner"), config.get("layer_norm_epsilon", 1e-5)
        if n_inner is not None and (type(n_inner) is not int or n_inner < 1):
            raise CheckpointError("n_inner is not a whole number of at least 1")
        if type(eps) is not float or not 0 < eps < 1:
            raise CheckpointError("layer_norm_epsilon is not a number between 0 and 1")
    return config


def check_sizes(hparams, names_in_file=None):
    """Raise CheckpointError unless SIZES are valid. `names_in_file`: our name -> name in the message."""
    for name in SIZES:
        if type(hparams.get(name)) is not int or hparams[name] < 1:
            name = (names_in_file or {}).get(name, name)
            raise CheckpointError(f"{name} is not a whole number of at least 1")
    if hparams["n_embd"] % hparams["n_head"]:
        raise CheckpointError("n_embd is not a multiple of n_head")
