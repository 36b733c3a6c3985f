"""The reader of PyTorch's files against torch.load."""

import collections
import io
import mmap
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from support.pytorch_writer import call, legacy_file, mapping, name, pytorch_file, storage, tensor

from loading.pickle_parser import Call
from loading.pytorch_checkpoint import read_pytorch_file, read_pytorch_tensors, read_state_dict
from loading.shard_index import read_shards
from loading.untrusted_files import CheckpointError

torch = pytest.importorskip("torch")

SUPPORTED = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
formats = pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
protocols = pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])


def save(content, path, is_zip, protocol=2):
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    return path


def assert_same(ours, theirs):
    """Assert that a tree of ours equals that of torch.load."""
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach()
        expected = theirs.float() if theirs.is_floating_point() else theirs
        np.testing.assert_array_equal(ours, expected.numpy(), strict=True)
        assert not ours.flags.writeable
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert_same(our, their)
    else:
        assert (type(ours), ours) == (type(theirs), theirs)


def random_tensor(dtype, *shape):
    return (torch.randn(shape) * 3).to(getattr(torch, dtype))


@formats
@protocols
@pytest.mark.parametrize("dtype", SUPPORTED)
def test_tensors_and_views_are_those_of_torch(dtype, protocol, is_zip, tmp_path):
    x = random_tensor(dtype, 3, 4, 5)
    content = {
        "whole": x,
        "transposed": x.mT,
        "permuted": x.permute(2, 0, 1),
        "sliced": x[1:, ::2, 1:4],
        "row": x[2, 3],
        "scalar": x[0, 0, 0],
        "new scalar": random_tensor(dtype),
        "empty": random_tensor(dtype, 0, 3),
        "empty view": x[:, 4:],
        "axes of size 1": x[None, :1],
        "one column": x[:, :, :1],
        "with attribute": x.clone(),
    }
    content["with attribute"].author = "someone"
    path = save(content, tmp_path / "x.pt", is_zip, protocol)
    assert_same(read_pytorch_file(path), torch.load(path, weights_only=False))


@formats
@protocols
def test_tied_tensors_and_parameters_are_the_same_array(protocol, is_zip, tmp_path):
    wte = torch.nn.Parameter(torch.randn(5, 4))
    half = torch.randn(6).bfloat16()
    content = {"wte": wte, "lm_head": wte, "data": wte.data, "half": half, "tied": half[:], "part": half[1:]}
    tensors = read_pytorch_file(save(content, tmp_path / "x.pt", is_zip, protocol))
    assert_same(tensors, content)
    assert tensors["wte"] is tensors["lm_head"] is tensors["data"]
    assert tensors["half"] is tensors["tied"]
    assert np.shares_memory(tensors["half"], tensors["part"])


@formats
def test_float32_is_a_view_of_the_mapped_file(is_zip, tmp_path):
    array = read_pytorch_file(save(torch.randn(2, 3).T, tmp_path / "x.pt", is_zip))
    while isinstance(array, np.ndarray):
        assert type(array) is np.ndarray
        array = array.base
    assert isinstance(array, mmap.mmap)


@formats
@protocols
def test_a_module_with_its_optimizer_is_that_of_torch(protocol, is_zip, tmp_path):
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "model_args": {"n_layer": 2, "bias": False, "dropout": 0.0, "name": None},
        "shape": model[0].weight.shape,
        "iter_num": 2**40,
    }
    path = save(content, tmp_path / "ckpt.pt", is_zip, protocol)
    assert_same(read_pytorch_file(path), {**torch.load(path, weights_only=False), "shape": (5, 4)})
    tensors, _ = read_state_dict(path)
    assert_same(tensors, dict(model.state_dict()))


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
@formats
def test_other_types_of_tensors_are_skipped(is_zip, tmp_path):
    others = {
        "int8": torch.ones(3, dtype=torch.int8),
        "int16": torch.ones(3, dtype=torch.int16),
        "complex": torch.ones(3, dtype=torch.complex64),
        "conjugate": torch.ones(3, dtype=torch.complex64).conj().imag,
        "float8": torch.ones(3).to(torch.float8_e4m3fn),
        "sparse": torch.eye(3).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
        "object": collections.Counter("abc"),
        "number": 3,
    }
    content = {"a": torch.randn(3), **others, "b": torch.randn(3)}
    path = save(content, tmp_path / "x.pt", is_zip)
    with pytest.warns(UserWarning, match=r"x\.pt: skipped 9 values of unsupported types: 'int8', 'int16'"):
        tensors, _ = read_state_dict(path)
    assert_same(tensors, {"a": content["a"], "b": content["b"]})


def test_weights_load_beside_an_object_of_an_unknown_class(tmp_path):
    """The class exists only in the program that writes the file, as in relatives of nanoGPT."""
    code = """
import dataclasses, torch
@dataclasses.dataclass
class Config:
    n_layer: int = 2
torch.save({"config": Config(), "model": {"w": torch.arange(3.0)}, "class": Config}, "ckpt.pt")
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    with pytest.raises(AttributeError):
        torch.load(tmp_path / "ckpt.pt", weights_only=False)
    tensors, content = read_state_dict(tmp_path / "ckpt.pt")
    assert_same(tensors, {"w": torch.arange(3.0)})
    assert type(content["config"]) is Call


@pytest.mark.parametrize("nested", [None, "model", "state_dict", "model_state_dict", "module"])
def test_the_state_dict_is_found(nested, tmp_path):
    state_dict = {"w": torch.ones(2)}
    content = {"epoch": 3, "args": {"n": 1}, nested: state_dict} if nested else state_dict
    tensors, _ = read_state_dict(save(content, tmp_path / "x.pt", is_zip=True))
    assert_same(tensors, state_dict)


@pytest.mark.parametrize(
    "content", [[], 3, {}, {"a": "b"}, {1: torch.ones(2)}, {"optimizer": {"a": torch.ones(2)}}]
)
def test_other_content_than_a_state_dict_is_rejected(content, tmp_path):
    path = save(content, tmp_path / "x.pt", is_zip=True)
    with pytest.raises(CheckpointError, match=r"x\.pt: not a state dict"):
        read_state_dict(path)


@formats
def test_gpt2_of_transformers_is_read(is_zip, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "n_positions": 8, "n_embd": 4, "n_layer": 2, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    path = save(model.state_dict(), tmp_path / "pytorch_model.bin", is_zip)
    tensors = read_pytorch_tensors(path)
    assert_same(tensors, dict(model.state_dict()))
    assert tensors["lm_head.weight"] is tensors["transformer.wte.weight"]


def test_shards_are_read(tmp_path):
    shards = {
        "pytorch_model-00001-of-00002.bin": {"a": torch.ones(2)},
        "pytorch_model-00002-of-00002.bin": {"b": torch.ones(3)},
    }
    for file, content in shards.items():
        torch.save(content, tmp_path / file)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(
        '{"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}}'
    )
    assert_same(read_shards(index, read_pytorch_tensors), {"a": torch.ones(2), "b": torch.ones(3)})


# Calls that torch.save of this version does not write.


def test_older_and_rarer_calls_give_the_tensors_of_torch(tmp_path):
    data = np.arange(6, dtype=np.float32)
    part = storage("FloatStorage", "0", 6, ("1", 2, 3))  # elements 2 to 4
    whole = storage("FloatStorage", "0", 6, None)
    view = (b"K\x00", b"K\x03\x85", b"K\x01\x85")
    utils = "torch._utils"
    pieces = {
        "whole": tensor(whole),
        "part": tensor(part, 1, (2,), (1,)),
        "old": call(name(utils, "_rebuild_tensor"), whole, *view),
        "subclass": call(
            name("torch._tensor", "_rebuild_from_type_v2"),
            name(utils, "_rebuild_tensor_v2"),
            name("torch", "Tensor"),
            b"(" + whole + b"".join(view) + b"\x89}t",
            b"}",
        ),
        "state": call(name(utils, "_rebuild_parameter_with_state"), tensor(whole), b"\x89", b"}", b"}"),
    }
    path = tmp_path / "x.pt"
    path.write_bytes(legacy_file(mapping(pieces), {"0": (6, data.tobytes())}))
    ours = read_pytorch_file(path)
    assert_same(ours, torch.load(path, weights_only=False))
    assert ours["part"].tolist() == [3, 4]


@pytest.mark.parametrize("is_legacy", [False, True])
def test_files_of_our_writer_are_those_of_torch(is_legacy, tmp_path):
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in SUPPORTED if dtype != "bfloat16"}
    content = pytorch_file(arrays, is_legacy)
    theirs = torch.load(io.BytesIO(content), weights_only=True)
    assert {key: value.numpy().tolist() for key, value in theirs.items()} == {
        key: array.tolist() for key, array in arrays.items()
    }
    (tmp_path / "x.pt").write_bytes(content)
    assert_same(read_pytorch_file(tmp_path / "x.pt"), theirs)


# Other files of PyTorch.


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_rejected_by_name(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_pytorch_file(tmp_path / "x.pt")


@formats
def test_big_endian_is_rejected_by_name(is_zip, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    path = save({"a": torch.ones(2)}, tmp_path / "x.pt", is_zip)
    with pytest.raises(CheckpointError, match="big-endian"):
        read_pytorch_file(path)


def test_a_checksum_that_torch_did_not_compute_is_accepted(tmp_path):
    """torch.serialization.set_crc32_options(False) writes other checksums. torch.load ignores them."""
    torch.serialization.set_crc32_options(False)
    try:
        path = save({"a": torch.arange(3.0)}, tmp_path / "x.pt", is_zip=True)
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is not None
    assert_same(read_pytorch_file(path), {"a": torch.arange(3.0)})
