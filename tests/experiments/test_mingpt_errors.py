"""mingpt.py: damaged, malicious and incomplete files, and bad arguments, are errors that name the cause."""

import os

import mingpt
import numpy as np
import pytest
import torch
from support.torch_models import LAYOUTS, random_model, save

from loading.untrusted_files import CheckpointError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_is_required_in_its_shape(layout, tmp_path):
    tensors = {name: tensor.numpy() for name, tensor in random_model(layout).state_dict().items()}
    path = tmp_path / "model.npz"
    for name, tensor in tensors.items():
        if name.endswith(("attn.mask", "attn.bias")):
            continue
        is_tied = layout.startswith("nanoGPT") and name in ("lm_head.weight", "transformer.wte.weight")
        if not is_tied:
            np.savez(path, **{other: tensors[other] for other in tensors if other != name})
            with pytest.raises(CheckpointError, match=r"missing|there is no") as error:
                mingpt.load(path)
            assert str(error.value).startswith(f"{path}: ")
        if not name.endswith("wpe.weight"):  # one more position is valid
            np.savez(path, **{**tensors, name: np.concatenate([tensor, tensor[:1]])})
            with pytest.raises(CheckpointError) as error:
                mingpt.load(path)
            assert str(error.value).startswith(f"{path}: ")
        np.savez(path, **{**tensors, name: np.float32(1)})
        with pytest.raises(CheckpointError):
            mingpt.load(path)


@pytest.mark.parametrize("name", ["transformer.h.0.ln_1.gain", "lm_head.bias", "head.bias", "blocks.1.gate"])
def test_unknown_tensor_is_an_error(name, tmp_path):
    tensors = random_model("minGPT").state_dict()
    torch.save({**tensors, name: torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"2 layers"):
        mingpt.load(tmp_path / "model.pt")


def test_an_extra_head_is_skipped_with_a_notice(tmp_path):
    tensors = random_model("minGPT").state_dict()
    torch.save({**tensors, "value_head.weight": torch.ones(2)}, tmp_path / "model.pt")
    with pytest.warns(UserWarning, match=r"tensors outside GPT-2 are skipped: value_head\.weight"):
        mingpt.load(tmp_path / "model.pt")


def test_model_of_transformers_is_an_error(tmp_path):
    """Its weights are already [n_in, n_out]."""
    tensors = random_model("minGPT").state_dict()
    tensors = {name: x.T if ".c_" in name and x.ndim == 2 else x for name, x in tensors.items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"h\.0\."):
        mingpt.load(tmp_path / "pytorch_model.bin")


class Trap:
    """An object whose unpickling creates a folder."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_pickles_are_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"wte": Trap()}, "model.pt")
    np.savez("model.npz", wte=np.array([Trap()], dtype=object))
    for path in ("model.pt", "model.npz"):
        with pytest.raises(CheckpointError, match=r"not a state dict|not a file of plain arrays"):
            mingpt.load(path)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_damaged_file_is_an_error(suffix, tmp_path):
    path = save(random_model("minGPT"), tmp_path / f"model{suffix}", "minGPT")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    lengths = [0, 1, 4, *rng.integers(5, len(content) - 1, 40)]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises((CheckpointError, OSError)):
            mingpt.load(path)
    for junk in (b"junk", b"\x80\x02}q\x00.", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(junk)
        with pytest.raises(CheckpointError):
            mingpt.load(path)


@pytest.mark.parametrize(
    "content", [[], torch.ones(2), {"model": 3}, {1: torch.ones(2)}, {"a": "b"}, {"model_args": 3}]
)
def test_other_content_than_a_state_dict_is_an_error(content, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError):
        mingpt.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"n_head": None}, "pass --n_head"),
        ({"n_head": 0}, "a divisor of n_embd, 24"),
        ({"n_head": 5}, "a divisor of n_embd, 24"),
        ({"gelu": "relu"}, "exact or tanh"),
        ({"prompt": "27"}, "'27' is not a token of the model: they are '0' to '26'"),
        ({"prompt": " "}, "one or more ids"),
        ({"prompt": "To be"}, "'To' is not a token"),
        ({"prompt": "-1"}, "'-1' is not a token"),
        ({"text": "3.txt"}, "3 distinct characters, but the model has 27 tokens"),
        ({"text": "latin.txt"}, "latin.txt: "),
        ({"text": "27.txt", "prompt": "A"}, "'A' is not a token"),
        ({"words": "3.txt"}, "3.txt has 1 distinct words, but the model has 27 tokens"),
        ({"words": "3.txt", "text": "27.txt"}, "give only one of these: --encoder, --text, --words"),
        ({"encoder": "demo"}, "demo has 4096 tokens, but the model has 27"),
        ({"score": "27.txt", "prompt": "1"}, "give only one of these: --prompt, --score, --export"),
        ({"score": "27.txt"}, "'abcdefghijklmnopqrstuvwxyz' is not a token of the model"),
        ({"score": "latin.txt"}, "latin.txt: "),
        ({"score": "empty.txt", "text": "27.txt"}, "there is no text to score"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_bad_argument_is_an_error_that_names_the_cause(flags, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")
    (tmp_path / "3.txt").write_text("abc", encoding="utf-8")
    (tmp_path / "27.txt").write_text("abcdefghijklmnopqrstuvwxyz\n", encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        mingpt.main("model.npz", **{"n_head": 3, **flags})


def test_bad_input_is_a_one_line_error(run_experiment, tmp_path):
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")
    (tmp_path / "text.pt").write_text("abc", encoding="utf-8")
    for arguments, status, message in [
        ([], 2, "checkpoint"),
        (["missing.npz"], 1, "missing.npz"),
        (["text.pt"], 1, "not a file of torch.save"),
        (["model.npz"], 2, "pass --n_head"),
        (["model.npz", "--n_head=3", "--text=missing.txt"], 1, "missing.txt"),
        (["model.npz", "--n_head=3", "--score=missing.txt"], 1, "missing.txt"),
    ]:
        code, out, err = run_experiment("mingpt.py", *arguments)
        assert (code, out, err.count("\n")) == (status, "", 1), (arguments, code, out, err)
        assert err.startswith("mingpt.py: ")
        assert message in err, err


def test_files_are_read_without_pytorch(run_experiment, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError", encoding="utf-8")
    for file in ("model.pt", "model.npz"):
        save(random_model("minGPT"), tmp_path / file, "minGPT")
        arguments = (file, "--n_head=3", "-n", "3", "--seed=1")
        status, out, err = run_experiment("mingpt.py", *arguments, PYTHONPATH=str(tmp_path))
        assert (status, len(out.split()), err) == (0, 4, "")
