"""Tensors with Hugging Face's names become parameters, or are rejected by name."""

import re

import numpy as np
import pytest
from support.bundle_writer import write_bundle
from support.hub_models import edit_json, edit_tensors

import gpt2
from loading.tf_checkpoint import read_tf_checkpoint
from loading.untrusted_files import CheckpointError
from utils import DEMO_DIR, load_encoder_hparams_and_params


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
        (
            "h.0.attn.lora_A.weight",
            np.zeros((2, 16), np.float32),
            "the weights have a LoRA adapter: merge it",
        ),
        ("h.0.attn.gate.weight", np.zeros((2, 16), np.float32), "h.0.attn.gate.weight is not in a GPT-2 of"),
        ("wte.weight", np.zeros((301, 16), np.float32), "two tensors have the same name without its prefix"),
        ("lm_head.weight", np.zeros((7, 16), np.float32), "lm_head.weight is float32 [7, 16], but wte is"),
        ("transformer.ln_f.bias", np.zeros(16, np.int64), "ln_f.bias is int64 [16], not float32"),
    ],
)
def test_unknown_or_misshapen_tensors_are_rejected_by_name(hub_copy, name, tensor, message):
    folder = hub_copy("float32")
    edit_tensors(folder, lambda tensors: tensors | {name: tensor})
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_encoder_hparams_and_params(str(folder))


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module.transformer."])
def test_prefixes_of_names_are_removed(hub_copy, prefix):
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)

    def rename(tensors):
        return {prefix + name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}

    edit_tensors(folder, rename)
    np.testing.assert_array_equal(logits_of(folder)[0], expected)


def test_lm_head_alone_of_two_tied_tensors_is_enough(hub_copy):
    """safetensors.torch.save_model stores one of two tensors that share their memory."""
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    edit_tensors(folder, lambda tensors: {"lm_head.weight": tensors.pop("transformer.wte.weight")} | tensors)
    logits, params = logits_of(folder)
    assert "lm_head" not in params
    np.testing.assert_array_equal(logits, expected)
    edit_json(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"there is no variable wte\.weight"):
        logits_of(folder)


def test_extra_heads_are_skipped_with_one_notice(hub_copy):
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    extra = {"score.weight": np.zeros((2, 16), np.float32), "v_head.summary.bias": np.zeros(1, np.float32)}
    edit_tensors(folder, lambda tensors: tensors | extra)
    message = r"^tensors outside GPT-2 are skipped: score\.weight, v_head\.summary\.bias$"
    with pytest.warns(UserWarning, match=message) as notices:
        logits, _ = logits_of(folder)
    assert len(notices) == 1
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize(
    "name", ["model/wte/Adam", "model/h0/mlp/c_fc/w/Adam_1", "beta1_power", "global_step"]
)
def test_optimizer_slots_in_a_tensorflow_checkpoint_are_skipped_with_a_notice(demo_copy, name):
    variables = dict(read_tf_checkpoint(DEMO_DIR / "model.ckpt"))
    write_bundle(demo_copy / "model.ckpt", variables | {name: np.zeros(3, np.float32)})
    with pytest.warns(UserWarning, match=f"tensors outside GPT-2 are skipped: {name}"):
        load_encoder_hparams_and_params(str(demo_copy))
