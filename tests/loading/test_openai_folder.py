"""Load a model in OpenAI's layout: variables become parameters; mismatched files are rejected."""

import json

import numpy as np
import pytest
from support.bundle_writer import write_bundle

from loading.parameter_tree import load_gpt2_params_from_tf_ckpt
from loading.tf_checkpoint import read_tf_checkpoint
from loading.untrusted_files import CheckpointError
from utils import DEMO_DIR, load_encoder_hparams_and_params

HPARAMS = {"n_vocab": 4096, "n_ctx": 256, "n_embd": 256, "n_head": 4, "n_layer": 6}


def test_params_equal_the_variables_of_the_checkpoint(demo):
    _, hparams, params = demo
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    assert list(params) == ["wte", "wpe", "blocks", "ln_f"]
    assert len(params["blocks"]) == hparams["n_layer"] == 6

    def visit(tree, name):
        if isinstance(tree, dict):
            for key, value in tree.items():
                visit(value, f"{name}/{key}")
            return
        variable = variables.pop(name)
        assert tree.dtype == np.float32
        assert not tree.flags.writeable
        np.testing.assert_array_equal(tree, variable[0] if variable.ndim == 3 else variable)

    for layer, block in enumerate(params["blocks"]):
        visit(block, f"model/h{layer}")
    visit({name: params[name] for name in ("wte", "wpe", "ln_f")}, "model")
    assert not variables


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("model/ln_f/g"), "there is no variable model/ln_f/g"),
        (lambda v: v.pop("model/h5/mlp/c_fc/w"), "there is no variable model/h5/mlp/c_fc/w"),
        (
            lambda v: v.update({"model/h6/ln_1/g": v["model/ln_f/g"]}),
            "h6/ln_1/g is not in a GPT-2 of 6 layers",
        ),
        (lambda v: v.update({"model/wpe": v["model/wpe"][:-1]}), r"model/wpe is float32 \[255, 256\], not"),
        (lambda v: v.update({"model/ln_f/b": np.zeros(256, np.int32)}), "model/ln_f/b is int32"),
    ],
)
def test_missing_extra_or_misshapen_variables_are_rejected_by_name(demo, tmp_path, change, message):
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    change(variables)
    write_bundle(tmp_path / "model.ckpt", variables)
    with pytest.raises(CheckpointError, match=message):
        load_gpt2_params_from_tf_ckpt(tmp_path / "model.ckpt", demo[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"hparams\.json: "),
        ("<html>", r"hparams\.json: "),
        ("[" * 100_000, r"hparams\.json: "),
        ("[1, 2]", "not a JSON object"),
        (json.dumps({}), "n_vocab is not a whole number"),
        (json.dumps({**HPARAMS, "n_head": 0}), "n_head is not a whole number"),
        (json.dumps({**HPARAMS, "n_layer": "6"}), "n_layer is not a whole number"),
        (json.dumps({**HPARAMS, "n_ctx": 256.0}), "n_ctx is not a whole number"),
        (json.dumps({**HPARAMS, "n_ctx": True}), "n_ctx is not a whole number"),
        (json.dumps({**HPARAMS, "n_head": 3}), "n_embd is not a multiple of n_head"),
        (json.dumps({**HPARAMS, "n_layer": 7}), "there is no variable model/h6/attn/c_attn/w"),
        (json.dumps({**HPARAMS, "n_layer": 10**9}), "there is no variable model/h6/attn/c_attn/w"),
        (json.dumps({**HPARAMS, "n_layer": 5}), "model/h5/.* is not in a GPT-2 of 5 layers"),
        (
            json.dumps({**HPARAMS, "n_ctx": 1024}),
            r"model/wpe is float32 \[256, 256\], not float32 \[1024, 256\]",
        ),
        (json.dumps({**HPARAMS, "n_vocab": 4097}), r"encoder\.json does not have the ids 0 to n_vocab - 1"),
        (json.dumps({**HPARAMS, "n_vocab": 10**19}), r"encoder\.json does not have the ids 0 to n_vocab - 1"),
        (json.dumps({**HPARAMS, "n_vocab": 10**4000}), r"hparams\.json: a number has 4001 digits"),
        (json.dumps(HPARAMS)[:-1] + ', "n_ctx": 1}', "duplicate name in a JSON object"),
        (json.dumps({**HPARAMS, "x": float("nan")}), "NaN is not valid JSON"),
    ],
)
def test_invalid_or_mismatched_hparams_are_rejected(demo_copy, content, message):
    (demo_copy / "hparams.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_encoder_hparams_and_params(str(demo_copy))


def test_truncated_merges_are_rejected(demo_copy):
    lines = (demo_copy / "vocab.bpe").read_text(encoding="utf-8").splitlines(keepends=True)
    (demo_copy / "vocab.bpe").write_text("".join(lines[:300]), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"must have the 256 bytes, the merges in vocab\.bpe, and"):
        load_encoder_hparams_and_params(str(demo_copy))


def test_duplicate_token_ids_are_rejected(demo_copy):
    vocabulary = json.loads((demo_copy / "encoder.json").read_text(encoding="utf-8"))
    vocabulary["<|endoftext|>"] = 0
    (demo_copy / "encoder.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(CheckpointError, match="does not have the ids"):
        load_encoder_hparams_and_params(str(demo_copy))


def test_unknown_hparams_do_not_change_the_computation(demo_copy, demo):
    """Only config.json may change it, and there each setting is checked."""
    (demo_copy / "hparams.json").write_text(json.dumps({**HPARAMS, "layer_norm_epsilon": "1", "n_inner": 7}))
    assert load_encoder_hparams_and_params(str(demo_copy))[1] == demo[1]


@pytest.mark.parametrize("file", ["encoder.json", "vocab.bpe"])
def test_a_damaged_tokenizer_raises_CheckpointError(demo_copy, file):
    (demo_copy / file).write_text("<html>")
    with pytest.raises(CheckpointError, match=file):
        load_encoder_hparams_and_params(str(demo_copy))
