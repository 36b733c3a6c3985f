"""Models on the Hugging Face hub: redirects, renamed models, shards, and changes during a download."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy
from support.downloads import HUB_FILES, partial_files
from support.model_server import Fault
from support.paths import HUB_MODEL, files_in

from loading.safetensors import read_safetensors
from loading.shard_index import read_shards
from utils import find_model_dir, load_encoder_hparams_and_params

SHARD_INDEX = "model.safetensors.index.json"


def test_a_redirect_to_a_server_without_HEAD_is_followed(server, tmp_path):
    folder = find_model_dir("hf:OWNER/NAME", tmp_path, server.url)
    assert folder == tmp_path / "hf--OWNER--NAME"
    assert files_in(folder) == HUB_FILES
    for file in HUB_FILES:
        assert (folder / file).read_bytes() == (HUB_MODEL / file).read_bytes()


@pytest.mark.parametrize("server_has_head", [True, False])
def test_a_renamed_model_is_found(server, tmp_path, server_has_head):
    """The hub redirects hf:gpt2 to openai-community/gpt2, even for files that do not exist."""
    server.renamed = {"old": "OWNER/NAME"}
    if not server_has_head:
        server.faults = {file: [Fault("HEAD 405")] for file in (*HUB_FILES, "added_tokens.json")}
    folder = find_model_dir("hf:old", tmp_path, server.url)
    assert files_in(folder) == HUB_FILES


def test_an_unknown_model_is_reported(server, tmp_path):
    message = (
        r"returned status 404 for http.*/OWNER/OTHER/resolve/main/config\.json; check that the model exists"
    )
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("hf:OWNER/OTHER", tmp_path, server.url)
    assert files_in(tmp_path) == []


def test_a_model_with_only_a_pickle_is_downloaded(server, tmp_path):
    torch = pytest.importorskip("torch")
    other = shutil.copytree(HUB_MODEL, tmp_path / "served")
    for path in other.glob("model*"):
        path.unlink()
    tensors = read_shards(HUB_MODEL / SHARD_INDEX, read_safetensors)
    torch.save({name: torch.tensor(tensor) for name, tensor in tensors.items()}, other / "pytorch_model.bin")
    server.folders["OWNER/OTHER"] = other
    _, _, params = load_encoder_hparams_and_params("hf:OWNER/OTHER", tmp_path / "models", server.url)
    _, _, expected = load_encoder_hparams_and_params(HUB_MODEL)
    for loaded, original in ((params, expected), (params["ln_f"], expected["ln_f"])):
        for name in loaded.keys() - {"blocks", "ln_f", "eps"}:
            np.testing.assert_array_equal(loaded[name], original[name])


def test_weights_that_do_not_match_the_hub_s_sha256_are_discarded(server, tmp_path, fast_retries):
    """The hub sends the SHA-256 with its redirect. The files have no other checksum."""
    other = shutil.copytree(HUB_MODEL.with_name("float32"), tmp_path / "served")
    server.folders["OWNER/OTHER"] = other
    server.has_md5 = False
    server.faults["model.safetensors"] = [Fault("corrupt")]
    with pytest.raises(FileNotFoundError, match="the content does not match the server's sha256"):
        find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url)
    folder = tmp_path / "models" / "hf--OWNER--OTHER"
    assert not (folder / "model.safetensors").exists()
    server.faults.clear()
    assert find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url) == folder
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


# Models that change between two runs.


def test_shards_of_two_versions_are_not_mixed(server, tmp_path, fast_retries):
    """The model changes after three of five shards have been downloaded."""
    served = shutil.copytree(HUB_MODEL, tmp_path / "served")
    server.folders["OWNER/NAME"] = served
    shards = sorted(path.name for path in served.glob("*.safetensors"))
    server.faults[shards[3]] = [Fault("500")]
    with pytest.raises(FileNotFoundError, match="returned status 500"):
        find_model_dir("hf:OWNER/NAME", tmp_path / "models", server.url)
    folder = tmp_path / "models" / "hf--OWNER--NAME"
    assert all((folder / shard).exists() for shard in shards[:3])
    content = bytearray((served / shards[1]).read_bytes())
    content[-4:] = np.float32(42).tobytes()
    (served / shards[1]).write_bytes(content)
    config = json.loads((served / "config.json").read_text())
    (served / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 0.5}))
    server.faults.clear()
    find_model_dir("hf:OWNER/NAME", tmp_path / "models", server.url)
    for file in ("config.json", *shards):
        assert (folder / file).read_bytes() == (served / file).read_bytes()


def write_shards(folder, tensors, n_shards):
    """Replace the weights in a folder by these tensors, in n_shards files -> names of the files."""
    for path in folder.glob("model*"):
        path.unlink()
    shards = [f"model-{n:05d}-of-{n_shards:05d}.safetensors" for n in range(1, n_shards + 1)]
    shard_of = {name: shards[n * n_shards // len(tensors)] for n, name in enumerate(sorted(tensors))}
    for shard in shards:
        content = {name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}
        safetensors.numpy.save_file(content, folder / shard)
    (folder / SHARD_INDEX).write_text(json.dumps({"weight_map": shard_of}))
    return shards


def test_a_model_with_a_new_set_of_shards_is_downloaded(server, tmp_path, fast_retries):
    """The first of two shards is complete, the second partial. Then there are three, with other values."""
    served = shutil.copytree(HUB_MODEL, tmp_path / "served")
    server.folders["OWNER/NAME"] = served
    tensors = read_shards(HUB_MODEL / SHARD_INDEX, read_safetensors)
    first, second = write_shards(served, tensors, 2)
    # Twice: the request that is redirected counts, too.
    server.faults[second] = [Fault("disconnect", times=2, at=20_000), Fault("500")]
    with pytest.raises(FileNotFoundError, match="returned status 500"):
        find_model_dir("hf:OWNER/NAME", tmp_path / "models", server.url)
    folder = tmp_path / "models" / "hf--OWNER--NAME"
    assert (folder / first).exists()
    assert len(partial_files(folder)) == 1
    shards = write_shards(served, {name: -tensor for name, tensor in tensors.items()}, 3)
    server.faults.clear()
    load_encoder_hparams_and_params("hf:OWNER/NAME", tmp_path / "models", server.url)
    for file in (SHARD_INDEX, *shards):
        assert (folder / file).read_bytes() == (served / file).read_bytes()
    for name, tensor in read_shards(folder / SHARD_INDEX, read_safetensors).items():
        np.testing.assert_array_equal(tensor, -tensors[name])
