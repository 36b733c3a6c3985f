"""Finding, downloading (from a server on this machine) and loading models, with all that can go wrong."""

import json
import shutil

import numpy as np
import pytest
from bundle_writer import write_bundle

import utils
from checkpoint import CheckpointError, read_tf_checkpoint
from utils import (
    DEMO_DIR,
    MODEL_FILES,
    download_gpt2_files,
    find_model_dir,
    load_encoder_hparams_and_params,
    load_gpt2_params_from_tf_ckpt,
)

DATA_FILE = MODEL_FILES[-1]


@pytest.fixture
def openai(server, monkeypatch):
    """The server of the tests, in OpenAI's place."""
    monkeypatch.setattr(utils, "MODELS_URL", server.url)
    return server


@pytest.fixture
def offline(dead_address, monkeypatch):
    """OpenAI's server, out of reach."""
    monkeypatch.setattr(utils, "MODELS_URL", dead_address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def demo_copy(tmp_path):
    """A copy of the demo model, to be damaged."""
    return shutil.copytree(DEMO_DIR, tmp_path / "copy")


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Downloading.


def test_a_download_is_the_files_of_the_server(openai, tmp_path, capsys):
    download_gpt2_files("124M", tmp_path / "124M")
    assert files_in(tmp_path / "124M") == sorted(MODEL_FILES)
    for file in MODEL_FILES:
        assert (tmp_path / "124M" / file).read_bytes() == (DEMO_DIR / file).read_bytes()
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "11.2M/11.2M" in stderr  # a bar in bytes


def test_what_is_there_is_not_downloaded_again(openai, tmp_path):
    first = load_encoder_hparams_and_params("355M", tmp_path)
    (tmp_path / "355M" / "vocab.bpe").unlink()
    openai.fetched.clear()
    second = load_encoder_hparams_and_params("355M", tmp_path)
    assert openai.fetched == ["vocab.bpe"]
    assert first[1] == second[1]
    load_encoder_hparams_and_params("355M", tmp_path)
    assert openai.fetched == ["vocab.bpe"]


@pytest.mark.parametrize("file", MODEL_FILES)
def test_a_connection_cut_short_leaves_nothing_of_the_file(openai, tmp_path, file):
    openai.faults[file] = "cut"
    with pytest.raises(OSError, match=r"the connection to 127\.0\.0\.1:.* failed|broke off"):
        download_gpt2_files("124M", tmp_path / "124M")
    if file == MODEL_FILES[0]:
        assert not (tmp_path / "124M").exists()
    else:
        assert files_in(tmp_path / "124M") == sorted(MODEL_FILES[: MODEL_FILES.index(file)])
    openai.faults.clear()
    download_gpt2_files("124M", tmp_path / "124M")
    assert files_in(tmp_path / "124M") == sorted(MODEL_FILES)


def test_a_server_that_stops_sending_is_given_up(openai, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "READ_TIMEOUT", 0.5)
    openai.faults[DATA_FILE] = "hang"
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        download_gpt2_files("124M", tmp_path / "124M")
    assert files_in(tmp_path / "124M") == sorted(MODEL_FILES[:-1])


def test_a_file_that_the_server_does_not_have(openai, tmp_path):
    openai.faults[MODEL_FILES[0]] = "missing"
    with pytest.raises(OSError, match=r"127\.0\.0\.1:.* answers 404 for http://.*/124M/hparams.json"):
        download_gpt2_files("124M", tmp_path / "124M")
    assert files_in(tmp_path) == []


def test_an_answer_that_is_not_the_file(openai, tmp_path):
    openai.faults[MODEL_FILES[0]] = "nothing"
    with pytest.raises(OSError, match="answers 204"):
        download_gpt2_files("124M", tmp_path / "124M")
    openai.faults[MODEL_FILES[0]] = "no number"
    with pytest.raises(OSError, match=r"the connection to .* failed"):
        download_gpt2_files("124M", tmp_path / "124M")
    assert files_in(tmp_path) == []


def test_no_connection(offline, tmp_path):
    with pytest.raises(OSError, match=r"the connection to 127\.0\.0\.1:.* failed"):
        download_gpt2_files("124M", tmp_path / "124M")
    assert files_in(tmp_path) == []


def test_a_server_that_trickles_is_given_up_while_it_does(openai, tmp_path, monkeypatch):
    """Each byte comes in time for requests, and the answer never ends: all of it together has a limit."""
    monkeypatch.setattr(utils, "ANSWER_TIMEOUT", 0.5)
    openai.faults[MODEL_FILES[0]] = "trickle"
    with pytest.raises(OSError, match="does not answer"):
        download_gpt2_files("124M", tmp_path / "124M")
    assert not openai.closing.is_set()
    assert files_in(tmp_path) == []


# Which model.


def test_a_size_is_downloaded_into_its_folder(openai, tmp_path):
    _, hparams, _ = load_encoder_hparams_and_params("774M", str(tmp_path / "models"))
    assert hparams["n_vocab"] == 4096
    assert files_in(tmp_path / "models" / "774M") == sorted(MODEL_FILES)


@pytest.mark.parametrize("size", ["124M", "355M", "774M", "1558M"])
def test_a_size_that_cannot_be_had_is_an_error(offline, tmp_path, size):
    with pytest.raises(FileNotFoundError, match=f"{size} is not in .* run again with --model_size={size}"):
        find_model_dir(size, tmp_path)
    assert files_in(tmp_path) == []


def test_without_a_size_it_is_124M(openai, tmp_path, capsys):
    assert find_model_dir(None, tmp_path) == tmp_path / "124M"
    assert "demo" not in capsys.readouterr().err


def test_without_a_size_and_a_network_it_is_124M_where_that_is_there(offline, tmp_path, capsys):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    assert find_model_dir(None, tmp_path) == tmp_path / "124M"
    assert capsys.readouterr().err == ""


def test_without_a_size_and_a_network_it_is_the_demo_with_a_notice(offline, tmp_path, capsys):
    _, hparams, _ = load_encoder_hparams_and_params(models_dir=tmp_path)
    assert hparams["n_vocab"] == 4096
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert "demo" in stderr
    assert "--model_size=124M" in stderr
    assert files_in(tmp_path) == []


def test_a_damaged_124M_is_not_replaced_by_the_demo(offline, tmp_path):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    (tmp_path / "124M" / "model.ckpt.index").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model\.ckpt\.index"):
        load_encoder_hparams_and_params(None, tmp_path)


def test_a_models_dir_that_is_a_file(openai, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=r"124M is not in .*file and cannot be downloaded"):
        find_model_dir("124M", tmp_path / "file")


def test_a_folder_is_a_model(demo_copy, demo):
    _, hparams, params = load_encoder_hparams_and_params(str(demo_copy))
    assert hparams == demo[1]
    np.testing.assert_array_equal(params["wte"], demo[2]["wte"])


def test_a_tilde_is_the_home_folder(openai, demo_copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_model_dir("~/copy", None) == demo_copy
    load_encoder_hparams_and_params("124M", "~/models")
    assert files_in(tmp_path / "models" / "124M") == sorted(MODEL_FILES)


@pytest.mark.parametrize("name", ["125M", "", "no/such/folder", "124m", "../models/124M"])
def test_an_unknown_model_is_named(tmp_path, name):
    with pytest.raises(ValueError, match=f"no model '{name}': give one of 124M, 355M, 774M, 1558M, demo"):
        find_model_dir(name, tmp_path)


@pytest.mark.parametrize("file", MODEL_FILES)
def test_a_folder_without_one_of_the_files_is_an_error(demo_copy, file):
    (demo_copy / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"copy is not a model in OpenAI's layout: it lacks {file}"):
        find_model_dir(str(demo_copy), None)


# Loading.


def test_params_are_the_variables_of_the_checkpoint(demo):
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
    ("change", "fault"),
    [
        (lambda v: v.pop("model/ln_f/g"), "there is no variable model/ln_f/g"),
        (lambda v: v.pop("model/h5/mlp/c_fc/w"), "there is no variable model/h5/mlp/c_fc/w"),
        (
            lambda v: v.update({"model/h6/ln_1/g": v["model/ln_f/g"]}),
            "h6/ln_1/g is not in a model of 6 layers",
        ),
        (lambda v: v.update({"model/wpe": v["model/wpe"][:-1]}), r"model/wpe is float32 \[255, 256\], not"),
        (lambda v: v.update({"model/ln_f/b": np.zeros(256, np.int32)}), "model/ln_f/b is int32"),
    ],
)
def test_variables_that_do_not_fit_are_named(demo, tmp_path, change, fault):
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    change(variables)
    write_bundle(tmp_path / "model.ckpt", variables)
    with pytest.raises(CheckpointError, match=fault):
        load_gpt2_params_from_tf_ckpt(tmp_path / "model.ckpt", demo[1])


def test_variables_that_are_not_of_the_model_do_not_matter(demo, tmp_path):
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    variables["global_step"] = np.array(3911)
    write_bundle(tmp_path / "model.ckpt", variables)
    params = load_gpt2_params_from_tf_ckpt(tmp_path / "model.ckpt", demo[1])
    np.testing.assert_array_equal(params["wpe"], demo[2]["wpe"])


GOOD = {"n_vocab": 4096, "n_ctx": 256, "n_embd": 256, "n_head": 4, "n_layer": 6}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", r"hparams\.json: "),
        ("<html>", r"hparams\.json: "),
        ("[" * 100_000, r"hparams\.json: "),
        ("[1, 2]", "not an object"),
        (json.dumps({}), "n_vocab is not a whole number"),
        (json.dumps({**GOOD, "n_head": 0}), "n_head is not a whole number"),
        (json.dumps({**GOOD, "n_layer": "6"}), "n_layer is not a whole number"),
        (json.dumps({**GOOD, "n_ctx": 256.0}), "n_ctx is not a whole number"),
        (json.dumps({**GOOD, "n_ctx": True}), "n_ctx is not a whole number"),
        (json.dumps({**GOOD, "n_head": 3}), "n_embd is not a multiple of n_head"),
        (json.dumps({**GOOD, "n_layer": 7}), "there is no variable model/h6/ln_1/g"),
        (json.dumps({**GOOD, "n_layer": 10**9}), "there is no variable model/h6/ln_1/g"),
        (json.dumps({**GOOD, "n_layer": 5}), "model/h5/.* is not in a model of 5 layers"),
        (
            json.dumps({**GOOD, "n_ctx": 1024}),
            r"model/wpe is float32 \[256, 256\], not float32 \[1024, 256\]",
        ),
        (json.dumps({**GOOD, "n_vocab": 4097}), r"encoder\.json does not have the ids 0 to n_vocab - 1"),
        (json.dumps({**GOOD, "n_vocab": 10**4000}), r"encoder\.json does not have the ids 0 to n_vocab - 1"),
    ],
)
def test_hparams_that_do_not_fit_are_named(demo_copy, content, fault):
    (demo_copy / "hparams.json").write_text(content)
    with pytest.raises(CheckpointError, match=fault):
        load_encoder_hparams_and_params(str(demo_copy))


def test_merges_cut_short_are_found(demo_copy):
    lines = (demo_copy / "vocab.bpe").read_text(encoding="utf-8").splitlines(keepends=True)
    (demo_copy / "vocab.bpe").write_text("".join(lines[:300]), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"not the 256 bytes, the merges of vocab\.bpe, and"):
        load_encoder_hparams_and_params(str(demo_copy))


def test_two_tokens_with_one_id_are_found(demo_copy):
    vocabulary = json.loads((demo_copy / "encoder.json").read_text(encoding="utf-8"))
    vocabulary["<|endoftext|>"] = 0
    (demo_copy / "encoder.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(CheckpointError, match="does not have the ids"):
        load_encoder_hparams_and_params(str(demo_copy))


@pytest.mark.parametrize("file", ["encoder.json", "vocab.bpe"])
def test_a_damaged_tokenizer_is_a_checkpoint_error(demo_copy, file):
    (demo_copy / file).write_text("<html>")
    with pytest.raises(CheckpointError, match=file):
        load_encoder_hparams_and_params(str(demo_copy))
