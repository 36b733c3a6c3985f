"""Models in Hugging Face's layout give the results of transformers; incomplete folders are rejected."""

import json

import numpy as np
import pytest
from support.hub_models import HUB, MODELS, edit_json, edit_tensors, read_json

import gpt2
import gpt2_pico
from loading.model_folder import missing_files
from loading.untrusted_files import CheckpointError
from utils import find_model_dir, load_encoder_hparams_and_params


@pytest.mark.parametrize("model", MODELS)
def test_logits_and_text_equal_those_of_transformers(model):
    expected = read_json(HUB / model / "expected.json")
    encoder, hparams, params = load_encoder_hparams_and_params(str(HUB / model))
    ids = encoder.encode(expected["prompt"])
    assert ids == expected["ids"]
    for module in (gpt2, gpt2_pico):
        logits = module.gpt2(ids, **params, n_head=hparams["n_head"])
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
    new_ids = list(gpt2.generate(ids, params, hparams["n_head"], 12))
    assert new_ids == expected["new_ids"]
    assert encoder.decode(new_ids) == expected["text"]


@pytest.mark.parametrize("model", MODELS)
def test_the_command_line_prints_the_text_of_transformers(run, model):
    expected = read_json(HUB / model / "expected.json")
    status, stdout, stderr = run(expected["prompt"], f"--model_size={HUB / model}", "-n=12", "--quiet")
    assert (status, stdout, stderr) == (0, expected["text"] + "\n", "")


# Files in the folder.


@pytest.mark.parametrize(
    ("model", "file", "missing"),
    [
        ("float32", "config.json", ["config.json"]),
        ("float32", "model.safetensors", ["model.safetensors"]),
        ("float32", "merges.txt", ["merges.txt"]),
        ("float32", "vocab.json", ["vocab.json"]),
        ("float16", "tokenizer.json", ["vocab.json", "merges.txt"]),
        ("sharded", "model-00002-of-00005.safetensors", ["model-00002-of-00005.safetensors"]),
        ("sharded", "model.safetensors.index.json", ["model.safetensors"]),
    ],
)
def test_missing_files_are_named(hub_copy, model, file, missing):
    folder = hub_copy(model)
    (folder / file).unlink()
    assert missing_files(folder) == missing
    message = f"{model} is not a complete model: it lacks {', '.join(missing)}"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir(str(folder))


@pytest.mark.parametrize("other", ["vocab.json", "merges.txt", "encoder.json", "vocab.bpe"])
def test_a_complete_tokenizer_is_preferred_to_an_incomplete_one(hub_copy, other):
    for model, files in (("float16", {"tokenizer.json"}), ("float32", {"vocab.json", "merges.txt"})):
        folder = hub_copy(model)
        if other not in files:
            (folder / other).write_text("{}")
        assert len(load_encoder_hparams_and_params(str(folder))[0].encoder) == 301


# The tokenizer together with the model.


def test_the_begin_and_the_ends_of_a_text_come_from_the_generation_config_then_config(hub_copy):
    folder = hub_copy("float32")

    def special_ids():
        encoder, _, _ = load_encoder_hparams_and_params(str(folder))
        return encoder.start_ids, encoder.stop_ids

    assert special_ids() == ([300], [300])
    edit_json(folder / "config.json", bos_token_id=6, eos_token_id=7)
    assert special_ids() == ([300], [300])
    (folder / "generation_config.json").unlink()
    assert special_ids() == ([6], [7])
    edit_json(folder / "config.json", bos_token_id=None, eos_token_id=[8, 9])
    assert special_ids() == ([8], [8, 9])
    edit_json(folder / "config.json", eos_token_id=50256)  # the id of GPT-2, in a model with fewer tokens
    assert special_ids() == ([], [])
    for none in (None, -1, [-1]):
        edit_json(folder / "config.json", eos_token_id=none)
        assert special_ids() == ([], [])
    for eos in ("7", {}, [7, "8"], True, 7.0):
        edit_json(folder / "config.json", eos_token_id=eos)
        with pytest.raises(CheckpointError, match=r"eos_token_id .* is not an id, a list of ids or null"):
            special_ids()


def test_a_beginning_that_the_tokenizer_adds_is_not_supported(hub_copy):
    folder = hub_copy("float32")
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True}))
    with pytest.raises(CheckpointError, match=r"add_bos_token of tokenizer_config\.json is not supported"):
        load_encoder_hparams_and_params(str(folder))


def test_a_vocabulary_can_have_many_more_rows_than_tokens(hub_copy):
    """Small models often keep the default, 50257 rows."""
    folder = hub_copy("float32")
    expected = load_encoder_hparams_and_params(str(folder))[0].encode("the cat")
    n_vocab = 301 + 10_001
    wte = np.zeros((n_vocab, 16), np.float32)
    edit_tensors(folder, lambda tensors: tensors | {"transformer.wte.weight": wte})
    edit_json(folder / "config.json", vocab_size=n_vocab)
    encoder, _, _ = load_encoder_hparams_and_params(str(folder))
    assert encoder.encode("the cat") == expected
    assert encoder.decode([n_vocab - 1]) == ""


def test_a_setting_that_would_change_the_text_in_transformers_is_a_notice(hub_copy):
    folder = hub_copy("float32")
    edit_json(folder / "generation_config.json", repetition_penalty=1.5, no_repeat_ngram_size=0)
    with pytest.warns(UserWarning, match=r"repetition_penalty 1\.5 in the model's settings is ignored"):
        load_encoder_hparams_and_params(str(folder))


def test_added_tokens_decode_to_their_text_and_padding_to_nothing(hub_copy):
    folder = hub_copy("float32")
    (folder / "added_tokens.json").write_text(json.dumps({"<user name>": 301, "★": 302}))

    def add_rows(tensors):
        wte = tensors["transformer.wte.weight"]  # [301, 16]
        return tensors | {"transformer.wte.weight": np.concatenate([wte, wte[:3]])}

    edit_tensors(folder, add_rows)
    edit_json(folder / "config.json", vocab_size=304)
    encoder, _, _ = load_encoder_hparams_and_params(str(folder))
    assert encoder.decode([301, 302, 303, 0]) == "<user name>★!"
