"""Unsupported or invalid settings in config.json are rejected. For hparams.json: test_openai_folder.py."""

import re

import pytest
from support.hub_models import edit_json

from loading.untrusted_files import CheckpointError
from utils import load_encoder_hparams_and_params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt_neo"}, "model_type 'gpt_neo' is not supported, only ['gpt2']"),
        ({"activation_function": "relu"}, "activation_function 'relu' is not supported"),
        ({"scale_attn_weights": False}, "scale_attn_weights False is not supported"),
        ({"add_cross_attention": True}, "add_cross_attention True is not supported"),
        ({"quantization_config": {"bits": 8}}, "quantization_config {'bits': 8} is not supported"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads {'0': [1]} is not supported"),
        ({"auto_map": {"AutoModel": "modeling.py"}}, "auto_map {'AutoModel': 'modeling.py'} is not"),
        ({"is_causal": False}, "is_causal False is not supported"),
        ({"vocab_size": None}, "vocab_size is not a whole number of at least 1"),
        ({"n_positions": 0}, "n_positions is not a whole number of at least 1"),
        ({"n_head": 3}, "n_embd is not a multiple of n_head"),
        ({"num_attention_heads": 4}, "num_attention_heads 4 contradicts n_head 2"),
        ({"n_inner": 1.5}, "n_inner is not a whole number of at least 1"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is not a number between 0 and 1"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon is not a number between 0 and 1"),
    ],
)
def test_unsupported_and_invalid_settings_are_rejected(hub_copy, changes, message):
    folder = hub_copy("float32")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_encoder_hparams_and_params(str(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_positions": 33}, "wpe.weight is float32 [32, 16], not float32 [33, 16]"),
        ({"vocab_size": 300}, "wte.weight is float32 [301, 16], not float32 [300, 16]"),
        ({"n_inner": 24}, "mlp.c_fc.weight is float32 [16, 64], not float32 [16, 24]"),
        ({"n_layer": 4}, "there is no variable h.3.attn.c_attn.weight"),
        ({"n_layer": 2}, "h.2.attn.c_attn.bias is not in a GPT-2 of 2 layers"),
        ({"tie_word_embeddings": False}, "there is no lm_head.weight, but config.json does not tie"),
    ],
)
def test_settings_that_contradict_the_weights_are_rejected(hub_copy, changes, message):
    folder = hub_copy("float32")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_encoder_hparams_and_params(str(folder))
