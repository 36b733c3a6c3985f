"""Find, download, load and verify a model, from Python and with `python utils.py`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.bundle_writer import write_bundle
from support.downloads import finish, start_utils_py
from support.paths import DATA_FILE, ROOT, files_in

from loading.model_folder import OPENAI_FILES
from loading.tf_checkpoint import read_tf_checkpoint
from loading.untrusted_files import CheckpointError
from utils import (
    DEMO_DIR,
    download_gpt2_files,
    find_model_dir,
    load_encoder_hparams_and_params,
    verify_files,
)

# Which model.


@pytest.mark.parametrize("size", ["124M", "355M"])
def test_a_size_is_downloaded_into_its_folder(server, tmp_path, size):
    _, hparams, _ = load_encoder_hparams_and_params(size, str(tmp_path / "models"), server.url)
    assert hparams["n_vocab"] == 4096
    assert files_in(tmp_path / "models") == [size]
    assert files_in(tmp_path / "models" / size) == sorted(OPENAI_FILES)


@pytest.mark.parametrize("model", ["124M", "355M", "774M", "1558M", "hf:OWNER/NAME"])
def test_a_model_that_cannot_be_downloaded_is_an_error(no_network, tmp_path, model):
    message = f"{model} is not in .* and cannot be downloaded: .*; to retry: --model_size={model}"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir(model, tmp_path)
    assert files_in(tmp_path) == []


def test_the_default_is_124M(server, tmp_path, capsys):
    assert find_model_dir(None, tmp_path, server.url) == tmp_path / "124M"
    assert "demo" not in capsys.readouterr().err


def test_the_default_is_124M_without_a_network_if_it_is_present(no_network, tmp_path, capsys):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    assert find_model_dir(None, tmp_path) == tmp_path / "124M"
    assert capsys.readouterr().err == ""


def test_the_default_falls_back_to_the_demo_model_with_a_notice(no_network, tmp_path, capsys):
    _, hparams, _ = load_encoder_hparams_and_params(models_dir=tmp_path)
    assert hparams["n_vocab"] == 4096
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert stderr.endswith("; to retry: --model_size=124M. Falling back to the bundled demo model.\n")
    assert files_in(tmp_path) == []


def test_offline_sends_no_request(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT2_MIRROR", server.url)
    for model in ("124M", "hf:OWNER/NAME"):
        message = f"{model} is not in .*; to download it: python utils.py {model}"
        with pytest.raises(FileNotFoundError, match=message):
            find_model_dir(model, tmp_path, offline=True)
    assert find_model_dir(None, tmp_path, offline=True) == DEMO_DIR
    assert server.requests == []
    assert find_model_dir("124M", tmp_path) == tmp_path / "124M"  # downloaded from GPT2_MIRROR
    server.requests.clear()
    assert find_model_dir(None, tmp_path, offline=True) == tmp_path / "124M"
    assert server.requests == []


def test_a_damaged_124M_is_not_replaced_by_the_demo_model(no_network, tmp_path):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    (tmp_path / "124M" / "model.ckpt.index").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"model\.ckpt\.index"):
        load_encoder_hparams_and_params(None, tmp_path)


def test_models_dir_must_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"models_dir: .*file is not a folder"):
        find_model_dir("124M", tmp_path / "file")


@pytest.mark.parametrize("path_type", [str, Path])
def test_a_folder_is_a_model(path_type, demo_copy, demo):
    _, hparams, params = load_encoder_hparams_and_params(path_type(demo_copy))
    assert hparams == demo[1]
    np.testing.assert_array_equal(params["wte"], demo[2]["wte"])


def test_a_tilde_is_the_home_folder(server, demo_copy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_model_dir("~/copy", None) == demo_copy
    load_encoder_hparams_and_params("124M", "~/models", server.url)
    assert files_in(tmp_path / "models" / "124M") == sorted(OPENAI_FILES)


UNKNOWN = ["125M", "124M@main", "", "no/such/folder", "124m", "../models/124M"]
OUTSIDE = ["hf:..", "hf:../x", "hf:x/..", "hf:/etc", "hf:a/b/c", "hf:a\\..\\b", "hf:", "hf:a b", "hf:a/b?c"]


@pytest.mark.parametrize("name", UNKNOWN + OUTSIDE)
def test_unknown_models_are_rejected(server, tmp_path, name):
    message = re.escape(f"unknown model {name!r}: use 124M, 355M, 774M, 1558M, demo, the path of")
    with pytest.raises(ValueError, match=message):
        find_model_dir(name, tmp_path, server.url)
    assert server.requests == []


@pytest.mark.parametrize("file", OPENAI_FILES)
def test_an_incomplete_folder_is_rejected(demo_copy, file):
    (demo_copy / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"copy is not a complete model: it lacks {file}$"):
        find_model_dir(str(demo_copy))


# Downloads and verification.


def test_download_gpt2_files_needs_no_models_dir(server, tmp_path, monkeypatch):
    monkeypatch.setenv("GPT2_MIRROR", server.url)
    download_gpt2_files("124M", tmp_path / "anywhere")
    assert files_in(tmp_path / "anywhere") == sorted(OPENAI_FILES)


def test_loading_a_model_imports_nothing_for_downloads():
    code = (
        "import sys, utils; utils.load_encoder_hparams_and_params('demo');"
        "print({'requests', 'urllib3', 'download', 'tqdm'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"


def test_utils_py_downloads_and_verifies(start, server, tmp_path):
    status, stdout, stderr = finish(start_utils_py(start, server, tmp_path, "--verify"))
    assert (status, stdout) == (1, "")
    assert "124M is not in" in stderr
    assert server.requests == []
    folder = tmp_path / "124M"
    assert finish(start_utils_py(start, server, tmp_path))[:2] == (0, f"124M is in {folder}\n")
    server.requests.clear()
    status, stdout, _ = finish(start_utils_py(start, server, tmp_path, "--verify"))
    assert (status, stdout) == (0, "".join(f"{file}: OK\n" for file in OPENAI_FILES))
    assert server.requests == []


def test_verification_detects_one_changed_bit(run, demo_copy):
    content = bytearray((demo_copy / DATA_FILE).read_bytes())
    content[10_000_000] ^= 16
    (demo_copy / DATA_FILE).write_bytes(content)
    status, _, stderr = run(str(demo_copy), "--verify", script="utils.py")
    assert status == 1
    assert re.fullmatch(rf"utils\.py: .*{DATA_FILE}: tensor model/wte does not match its checksum\n", stderr)


def test_verification_detects_values_that_are_not_finite(demo_copy):
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    variables["model/h3/mlp/c_fc/b"] = np.full_like(variables["model/h3/mlp/c_fc/b"], np.nan)
    write_bundle(demo_copy / "model.ckpt", variables)
    with pytest.raises(CheckpointError, match=r"b \[\d+\] has NaN or infinite values"):
        list(verify_files(demo_copy, {}))
