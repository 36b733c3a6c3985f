"""Finding and loading models, with all that can go wrong; how they are downloaded is in test_download.py."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from bundle_writer import write_bundle
from conftest import HUB_MODEL, ROOT

import sources
from checkpoint import CheckpointError, read_tf_checkpoint
from formats import OPENAI_FILES
from parameters import load_gpt2_params_from_tf_ckpt
from utils import DEMO_DIR, find_model_dir, load_encoder_hparams_and_params, verify_files

DATA_FILE = OPENAI_FILES[-1]


@pytest.fixture
def no_network(dead_address, monkeypatch):
    """OpenAI's server and the hub, out of reach."""
    monkeypatch.setattr(sources, "OPENAI_URL", dead_address)
    monkeypatch.setattr(sources, "HUB_URL", dead_address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def demo_copy(tmp_path):
    """A copy of the demo model, to be damaged."""
    return shutil.copytree(DEMO_DIR, tmp_path / "copy")


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Which model.


@pytest.mark.parametrize("size", ["124M", "355M"])
def test_a_size_is_downloaded_into_its_folder(server, tmp_path, size):
    _, hparams, _ = load_encoder_hparams_and_params(size, str(tmp_path / "models"), server.url)
    assert hparams["n_vocab"] == 4096
    assert files_in(tmp_path / "models") == [size]
    assert files_in(tmp_path / "models" / size) == sorted(OPENAI_FILES)


@pytest.mark.parametrize("model", ["124M", "355M", "774M", "1558M", "hf:OWNER/NAME"])
def test_a_model_that_cannot_be_had_is_an_error(no_network, tmp_path, model):
    with pytest.raises(FileNotFoundError, match=f"{model} is not in .* run again with --model_size={model}"):
        find_model_dir(model, tmp_path)
    assert files_in(tmp_path) == []


def test_without_a_size_it_is_124M(server, tmp_path, capsys):
    assert find_model_dir(None, tmp_path, server.url) == tmp_path / "124M"
    assert "demo" not in capsys.readouterr().err


def test_without_a_size_and_a_network_it_is_124M_where_that_is_there(no_network, tmp_path, capsys):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    assert find_model_dir(None, tmp_path) == tmp_path / "124M"
    assert capsys.readouterr().err == ""


def test_without_a_size_and_a_network_it_is_the_demo_with_a_notice(no_network, tmp_path, capsys):
    _, hparams, _ = load_encoder_hparams_and_params(models_dir=tmp_path)
    assert hparams["n_vocab"] == 4096
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert "demo" in stderr
    assert "--model_size=124M" in stderr
    assert files_in(tmp_path) == []


def test_offline_nothing_is_asked_for(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT2_MIRROR", server.url)
    for model in ("124M", "hf:OWNER/NAME"):
        with pytest.raises(
            FileNotFoundError, match=f"{model} is not in .*; `python utils.py {model}` downloads it"
        ):
            find_model_dir(model, tmp_path, offline=True)
    assert find_model_dir(None, tmp_path, offline=True) == DEMO_DIR
    assert server.requests == []
    assert find_model_dir("124M", tmp_path) == tmp_path / "124M"  # by the mirror of the environment
    server.requests.clear()
    assert find_model_dir(None, tmp_path, offline=True) == tmp_path / "124M"
    assert server.requests == []


def test_a_damaged_124M_is_not_replaced_by_the_demo(no_network, tmp_path):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    (tmp_path / "124M" / "model.ckpt.index").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model\.ckpt\.index"):
        load_encoder_hparams_and_params(None, tmp_path)


def test_a_models_dir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"models_dir: .*file is not a folder"):
        find_model_dir("124M", tmp_path / "file")


@pytest.mark.parametrize("mirror", ["server", "ftp://server", "file:///etc", "http://", "https:///models"])
def test_a_mirror_that_is_no_address(tmp_path, mirror):
    with pytest.raises(ValueError, match=f"mirror: '{mirror}' is not an address"):
        find_model_dir("124M", tmp_path, mirror)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_a_model(kind, demo_copy, demo):
    _, hparams, params = load_encoder_hparams_and_params(kind(demo_copy))
    assert hparams == demo[1]
    np.testing.assert_array_equal(params["wte"], demo[2]["wte"])


def test_a_tilde_is_the_home_folder(server, demo_copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_model_dir("~/copy", None) == demo_copy
    load_encoder_hparams_and_params("124M", "~/models", server.url)
    assert files_in(tmp_path / "models" / "124M") == sorted(OPENAI_FILES)


UNKNOWN = ["125M", "", "no/such/folder", "124m", "../models/124M"]
OUTSIDE = ["hf:..", "hf:../x", "hf:x/..", "hf:/etc", "hf:a/b/c", "hf:a\\..\\b", "hf:", "hf:a b", "hf:a/b?c"]


@pytest.mark.parametrize("name", UNKNOWN + OUTSIDE)
def test_an_unknown_model_is_named(server, tmp_path, name):
    message = re.escape(f"there is no model {name!r}: give one of 124M, 355M, 774M, 1558M, demo")
    with pytest.raises(ValueError, match=message):
        find_model_dir(name, tmp_path, server.url)
    assert server.requests == []


@pytest.mark.parametrize("file", OPENAI_FILES)
def test_a_folder_without_one_of_the_files_is_an_error(demo_copy, file):
    (demo_copy / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"copy is not a whole model: it lacks {file}$"):
        find_model_dir(str(demo_copy))


# Other sources.


def test_where_openai_cannot_be_reached_it_is_the_hub(server, no_network, tmp_path, monkeypatch):
    server.folders = {"openai-community/gpt2": HUB_MODEL}
    monkeypatch.setattr(sources, "HUB_URL", server.url)
    monkeypatch.setattr(sources, "PUBLISHED", {})
    _, hparams, params = load_encoder_hparams_and_params(None, tmp_path)
    assert hparams["n_layer"] == 3
    assert "lm_head" in params
    server.requests.clear()
    find_model_dir("124M", tmp_path)
    assert server.requests == []


def test_where_both_can_be_reached_it_is_openai(server, tmp_path, monkeypatch):
    server.folders["openai-community/gpt2"] = HUB_MODEL
    monkeypatch.setattr(sources, "OPENAI_URL", server.url)
    monkeypatch.setattr(sources, "HUB_URL", server.url)
    monkeypatch.setattr(sources, "PUBLISHED", {})
    find_model_dir("124M", tmp_path)
    assert files_in(tmp_path / "124M") == sorted(OPENAI_FILES)


def test_a_mirror_may_be_as_the_hub(server, tmp_path):
    server.folders = {"openai-community/gpt2": HUB_MODEL}
    find_model_dir("124M", tmp_path, f"{server.url}/")
    assert "config.json" in files_in(tmp_path / "124M")


def test_a_file_that_is_not_the_published_one(server, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "OPENAI_URL", server.url)
    message = (
        r"hparams\.json: bytes 73, but 90 as published; doubt the latter, which has been published only once"
    )
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("124M", tmp_path)
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    (tmp_path / "124M" / "encoder.json").unlink()
    message = r"encoder\.json: bytes 73078, but 1042301 as published; doubt the file"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("124M", tmp_path)
    assert "encoder.json" not in files_in(tmp_path / "124M")


def test_the_published_files_are_known(tmp_path):
    for file in ("encoder.json", "vocab.bpe"):
        path = shutil.copy(ROOT / "tests" / "data" / "gpt2" / file, tmp_path)
        sources.check_published(file, Path(path), sources.PUBLISHED["124M"][file])
        content = bytearray(Path(path).read_bytes())
        content[1000] ^= 1
        Path(path).write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{file}: sha256 .* as published; doubt the file"):
            sources.check_published(file, Path(path), sources.PUBLISHED["124M"][file])


# Ahead of time.


def utils_py(run, server, tmp_path, *arguments):
    return run(
        *arguments,
        f"--mirror={server.url}",
        f"--models_dir={tmp_path}",
        script="utils.py",
        NO_PROXY="127.0.0.1",
    )


def test_a_download_ahead_of_time_and_its_check(run, server, tmp_path):
    status, stdout, stderr = utils_py(run, server, tmp_path, "124M", "--verify")
    assert (status, stdout) == (1, "")
    assert "124M is not in" in stderr
    assert server.requests == []
    folder = tmp_path / "124M"
    assert utils_py(run, server, tmp_path, "124M")[:2] == (0, f"124M is in {folder}\n")
    server.requests.clear()
    status, stdout, _ = utils_py(run, server, tmp_path, "124M", "--verify")
    assert (status, stdout) == (0, "".join(f"{file}: in order\n" for file in OPENAI_FILES))
    assert server.requests == []


def test_the_check_finds_one_changed_bit(run, demo_copy):
    content = bytearray((demo_copy / DATA_FILE).read_bytes())
    content[10_000_000] ^= 16
    (demo_copy / DATA_FILE).write_bytes(content)
    status, _, stderr = run(str(demo_copy), "--verify", script="utils.py")
    assert status == 1
    assert re.fullmatch(rf"utils\.py: .*{DATA_FILE}: tensor model/wte does not match its checksum\n", stderr)


def test_the_check_finds_values_that_are_no_numbers(demo_copy):
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    variables["model/h3/mlp/c_fc/b"] = np.full_like(variables["model/h3/mlp/c_fc/b"], np.nan)
    write_bundle(demo_copy / "model.ckpt", variables)
    with pytest.raises(CheckpointError, match="there are values of b that are no finite numbers"):
        list(verify_files(demo_copy, {}))


def test_the_check_compares_with_what_is_published(tmp_path):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    with pytest.raises(CheckpointError, match=r"hparams\.json: bytes 73, but 90 as published"):
        list(verify_files(tmp_path / "124M", sources.PUBLISHED["124M"]))


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
        ("[1, 2]", "not a JSON object"),
        (json.dumps({}), "n_vocab is not a whole number"),
        (json.dumps({**GOOD, "n_head": 0}), "n_head is not a whole number"),
        (json.dumps({**GOOD, "n_layer": "6"}), "n_layer is not a whole number"),
        (json.dumps({**GOOD, "n_ctx": 256.0}), "n_ctx is not a whole number"),
        (json.dumps({**GOOD, "n_ctx": True}), "n_ctx is not a whole number"),
        (json.dumps({**GOOD, "n_head": 3}), "n_embd is not a multiple of n_head"),
        (json.dumps({**GOOD, "n_layer": 7}), "there is no variable model/h6/attn/c_attn/w"),
        (json.dumps({**GOOD, "n_layer": 10**9}), "there is no variable model/h6/attn/c_attn/w"),
        (json.dumps({**GOOD, "n_layer": 5}), "model/h5/.* is not in a model of 5 layers"),
        (
            json.dumps({**GOOD, "n_ctx": 1024}),
            r"model/wpe is float32 \[256, 256\], not float32 \[1024, 256\]",
        ),
        (json.dumps({**GOOD, "n_vocab": 4097}), r"encoder\.json does not have the ids 0 to n_vocab - 1"),
        (json.dumps({**GOOD, "n_vocab": 10**19}), r"encoder\.json does not have the ids 0 to n_vocab - 1"),
        (json.dumps({**GOOD, "n_vocab": 10**4000}), r"hparams\.json: a number has 4001 digits"),
        (json.dumps(GOOD)[:-1] + ', "n_ctx": 1}', "a name comes twice"),
        (json.dumps({**GOOD, "x": float("nan")}), "NaN is not a number in JSON"),
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


def test_hparams_have_no_say_in_what_is_computed(demo_copy, demo):
    """That is for a config.json, where it is checked."""
    (demo_copy / "hparams.json").write_text(json.dumps({**GOOD, "layer_norm_epsilon": "1", "n_inner": 7}))
    assert load_encoder_hparams_and_params(str(demo_copy))[1] == demo[1]


@pytest.mark.parametrize("file", ["encoder.json", "vocab.bpe"])
def test_a_damaged_tokenizer_is_a_checkpoint_error(demo_copy, file):
    (demo_copy / file).write_text("<html>")
    with pytest.raises(CheckpointError, match=file):
        load_encoder_hparams_and_params(str(demo_copy))
