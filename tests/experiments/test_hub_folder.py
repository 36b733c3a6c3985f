"""helpers/hub_folder.py: the project and transformers load saved models, and failures leave no folder."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.hub_folder import byte_encoder, new_folder, save_model

import gpt2
from loading.weight_order import find_arrays
from utils import load_encoder_hparams_and_params


def test_saved_model_loads_unchanged(demo, tmp_path):
    encoder, hparams, params = demo
    save_model(tmp_path, *demo)
    loaded_encoder, loaded_hparams, loaded_params = load_encoder_hparams_and_params(str(tmp_path))
    assert loaded_hparams == hparams
    assert loaded_encoder.encoder == encoder.encoder
    assert loaded_encoder.bpe_ranks == encoder.bpe_ranks
    assert loaded_encoder.end_of_text == encoder.end_of_text
    for expected, found in zip(find_arrays(params), find_arrays(loaded_params), strict=True):
        assert expected[1] == found[1]
        np.testing.assert_array_equal(found[0][found[1]], expected[0][expected[1]])


def test_transformers_loads_a_saved_model(demo, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    encoder, hparams, params = demo
    save_model(tmp_path, *demo)
    ids = encoder.encode("Once upon a time there was a king")
    tokenizer = transformers.GPT2Tokenizer.from_pretrained(tmp_path)
    assert tokenizer("Once upon a time there was a king")["input_ids"] == ids
    model = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    logits = gpt2.gpt2(ids, **params, n_head=hparams["n_head"])
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_byte_encoder_has_a_token_for_every_byte():
    encoder = byte_encoder()
    text = "".join(map(chr, range(0x800))) + "€😀"
    assert sorted(encoder.decoder) == list(range(257))
    assert encoder.end_of_text == 256
    assert len(encoder.encode(text)) == len(text.encode("utf-8"))
    assert encoder.decode(encoder.encode(text)) == text


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_unfinished_folder_is_deleted(error, tmp_path):
    with pytest.raises(error), new_folder(tmp_path / "model") as folder:
        (folder / "config.json").write_text("{}")
        assert not (tmp_path / "model").exists()
        raise error
    assert os.listdir(tmp_path) == []


def test_finished_folder_is_renamed(tmp_path):
    with new_folder(tmp_path / "model") as folder:
        (folder / "config.json").write_text("{}")
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == ["config.json"]


def test_existing_path_is_rejected_and_kept(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ValueError, match="already exists"), new_folder(tmp_path / "model"):
        pytest.fail("the block must not run")
    assert (tmp_path / "model").read_text() == "mine"


@pytest.mark.parametrize("name", ["demo", "124M"])
def test_name_of_a_known_model_is_rejected(name, tmp_path, monkeypatch):
    """gpt2.py --model_size=demo is the bundled model, even beside a folder demo."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is the name of another model"), new_folder(Path(name)):
        pytest.fail("the block must not run")
    assert os.listdir(tmp_path) == []
