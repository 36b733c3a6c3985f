"""Models of other kinds, in a folder and on the hub: the message names what is there and what to do."""

import shutil

import pytest
from support.downloads import HUB_FILES
from support.paths import HUB_MODEL

from loading.untrusted_files import CheckpointError
from utils import find_model_dir, load_encoder_hparams_and_params

WEIGHTS = [file for file in HUB_FILES if file.startswith("model")]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]
LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 548105171\n"

# The file that is there -> the files that it replaces, and words of the message.
OTHER_MODELS = {
    "adapter_config.json": (["config.json", *WEIGHTS], "a LoRA adapter: merge it into .* merge_and_unload"),
    "vocab.txt": (TOKENIZER, "a WordPiece tokenizer: only byte-level BPE is supported: use a model with"),
    "spiece.model": (TOKENIZER, "a SentencePiece tokenizer: only byte-level BPE is supported"),
    "sentencepiece.bpe.model": (TOKENIZER, "a SentencePiece tokenizer: only byte-level BPE is supported"),
    "tokenizer.model": (TOKENIZER, "a SentencePiece tokenizer: only byte-level BPE is supported"),
    "tf_model.h5": (WEIGHTS, "weights of TensorFlow 2: use model.safetensors, or convert it"),
    "flax_model.msgpack": (WEIGHTS, "weights of Flax: use model.safetensors, or convert it"),
    "model.onnx": (WEIGHTS, "a graph of ONNX: use model.safetensors, or convert it"),
}
IN_FOLDERS = {
    "gpt2.Q4_K_M.gguf": (WEIGHTS, "quantized weights of llama.cpp: use model.safetensors"),
    "consolidated.00.pth": (WEIGHTS, "weights of PyTorch with another name"),
    "gpt2.safetensors": (WEIGHTS, "weights with another name"),
    "model-00001-of-00002.safetensors": (WEIGHTS, "one of several parts: model.safetensors.index.json"),
    "gpt2.tiktoken": (TOKENIZER, "a tokenizer of tiktoken"),
}


@pytest.fixture
def other_model(tmp_path):
    """other_model(file, replaced): a folder with this file in place of others."""

    def other_model(file, replaced):
        folder = shutil.copytree(HUB_MODEL, tmp_path / "other")
        for name in replaced:
            (folder / name).unlink()
        (folder / file).write_bytes(b"x")
        return folder

    return other_model


@pytest.mark.parametrize("file", [*OTHER_MODELS, *IN_FOLDERS])
def test_a_folder_with_another_kind_of_model_is_explained(other_model, file):
    replaced, explanation = (OTHER_MODELS | IN_FOLDERS)[file]
    message = rf"is not a complete model: it lacks .*; it has {file}, {explanation}"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir(other_model(file, replaced))


@pytest.mark.parametrize("file", OTHER_MODELS)
def test_another_kind_of_model_on_the_hub_is_explained(hub, tmp_path, other_model, file):
    replaced, explanation = OTHER_MODELS[file]
    hub.folders["OWNER/OTHER"] = other_model(file, replaced)
    message = rf"OWNER/OTHER.*; it has {file}, {explanation}"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("hf:OWNER/OTHER", tmp_path / "models")
    assert hub.fetched == []
    assert not (tmp_path / "models" / "hf--OWNER--OTHER").exists()


def test_a_model_of_two_other_kinds_is_explained(other_model):
    folder = other_model("spiece.model", [*WEIGHTS, *TOKENIZER])
    (folder / "tf_model.h5").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"it has tf_model\.h5, .*; it has spiece\.model, "):
        find_model_dir(folder)


def test_files_of_other_kinds_beside_a_complete_model_are_ignored(hub, tmp_path, other_model):
    folder = other_model("adapter_config.json", [])
    (folder / "vocab.txt").write_bytes(b"x")
    assert find_model_dir(folder) == folder
    hub.folders["OWNER/OTHER"] = folder
    find_model_dir("hf:OWNER/OTHER", tmp_path / "models")
    assert {"adapter_config.json", "vocab.txt"}.isdisjoint(file for _, file, _ in hub.requests)


@pytest.mark.parametrize("file", ["model-00002-of-00005.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_in_a_folder_is_reported(other_model, file):
    folder = other_model("README.md", [])
    (folder / file).write_text(LFS_POINTER)
    with pytest.raises(CheckpointError, match=f"{file}: this is a Git LFS pointer, not the file itself; run"):
        load_encoder_hparams_and_params(folder)


def test_a_pointer_of_git_lfs_in_openai_s_layout_is_reported(demo_copy):
    (demo_copy / "encoder.json").write_text(LFS_POINTER)
    with pytest.raises(CheckpointError, match=r"encoder\.json: this is a Git LFS pointer"):
        load_encoder_hparams_and_params(demo_copy)


@pytest.mark.parametrize("file", ["model-00002-of-00005.safetensors", "tokenizer.json"])
def test_a_pointer_of_git_lfs_on_a_server_is_not_kept(server, tmp_path, other_model, file):
    """A mirror that is a clone without Git LFS."""
    folder = other_model("README.md", [])
    (folder / file).write_text(LFS_POINTER)
    server.folders["OWNER/OTHER"] = folder
    with pytest.raises(FileNotFoundError, match=rf"http://.*/{file}: this is a Git LFS pointer"):
        find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url)
    assert not (tmp_path / "models" / "hf--OWNER--OTHER" / file).exists()
    shutil.copy(HUB_MODEL / file, folder)
    find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url)
