"""Tensors with Hugging Face's names become parameters, or are rejected by name."""

import re

import numpy as np
import pytest
from support.hub_models import edit_tensors

import gpt2
from loading.untrusted_files import CheckpointError
from utils import load_encoder_hparams_and_params


def logits_of(folder):
    """-> logits [3, n_vocab], params."""
    _, hparams, params = load_encoder_hparams_and_params(str(folder))
    return gpt2.gpt2([1, 2, 3], **params, n_head=hparams["n_head"]), params


def test_names_without_prefix_and_old_mask_buffers_are_accepted(hub_copy):
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    masks = {f"h.{layer}.attn.bias": np.tri(32, dtype=np.uint8)[None, None] for layer in range(3)}
    masks |= {f"h.{layer}.attn.masked_bias": np.array(-1e4, np.float16) for layer in range(3)}

    def change(tensors):
        return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()} | masks

    edit_tensors(folder, change)
    np.testing.assert_array_equal(logits_of(folder)[0], expected)


def test_an_lm_head_equal_to_wte_is_dropped(hub_copy):
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    edit_tensors(folder, lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    logits, params = logits_of(folder)
    assert "lm_head" not in params
    np.testing.assert_array_equal(logits, expected)


def test_an_lm_head_other_than_wte_is_used_even_if_config_json_ties_them(hub_copy):
    """transformers 5 does the same."""
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    edit_tensors(folder, lambda tensors: tensors | {"lm_head.weight": 2 * tensors["transformer.wte.weight"]})
    np.testing.assert_allclose(logits_of(folder)[0], 2 * expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("score.weight", np.zeros((2, 16), np.float32), "score.weight is not in a model of 3 layers"),
        ("lm_head.weight", np.zeros((7, 16), np.float32), "lm_head.weight is float32 [7, 16], but wte is"),
        ("transformer.ln_f.bias", np.zeros(16, np.int64), "transformer.ln_f.bias is int64 [16], not float32"),
    ],
)
def test_unknown_or_misshapen_tensors_are_rejected_by_name(hub_copy, name, tensor, message):
    folder = hub_copy("float32")
    edit_tensors(folder, lambda tensors: tensors | {name: tensor})
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_encoder_hparams_and_params(str(folder))
