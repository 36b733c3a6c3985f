"""The safetensors reader against the safetensors package, and against broken files."""

import mmap

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.hub_models import edit_json, read_json
from support.safetensors_writer import safetensors_entry as entry
from support.safetensors_writer import safetensors_file

from loading.safetensors import read_safetensors
from loading.untrusted_files import CheckpointError
from utils import find_model_dir, load_encoder_hparams_and_params

DTYPES = ("float32", "float16", "int32", "int64", "uint8", "bool")
any_array = st.one_of(
    *[arrays(name, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)) for name in DTYPES]
)
tensor_names = st.text(min_size=1).filter("__metadata__".__ne__)


@given(st.dictionaries(tensor_names, any_array, min_size=1))
def test_tensors_are_those_of_the_safetensors_package(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"format": "np"})
    ours, theirs = read_safetensors(path), safetensors.numpy.load_file(path)
    assert ours.keys() == theirs.keys()
    for name, their in theirs.items():
        expected = their.astype(np.float32) if their.dtype == np.float16 else their
        assert ours[name].dtype == expected.dtype
        np.testing.assert_array_equal(ours[name], expected, strict=True)
        assert not ours[name].flags.writeable


def test_float32_is_a_view_of_the_mapped_file(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros((2, 3), np.float32)}, tmp_path / "x.safetensors")
    tensor = read_safetensors(tmp_path / "x.safetensors")["a"]
    assert type(tensor) is np.ndarray
    assert isinstance(tensor.base, mmap.mmap)


BROKEN_FILES = {
    "empty": b"",
    "no header": bytes(7),
    "a web page": b"<html>" * 100,
    "a header longer than the file": safetensors_file({"a": entry()}, size=1000),
    "a huge header": safetensors_file({"a": entry()}, size=2**63),
    "a header of 2 MB": safetensors_file(b" " * 2**21 + b"{}", data=b""),
    "not JSON": safetensors_file(b"{"),
    "not UTF-8": safetensors_file(b'{"\xff": 1}'),
    "a list": safetensors_file([1]),
    "deep": safetensors_file(b"[" * 100_000),
    "a name twice": safetensors_file(b'{"a": 1, "a": 2}'),
    "no dtype": safetensors_file({"a": {"shape": [3], "data_offsets": [0, 12]}}),
    "an unknown field": safetensors_file({"a": entry(x=1)}),
    "unknown dtype": safetensors_file({"a": entry("F8_E4M3", (12,))}),
    "dtype is a list": safetensors_file({"a": entry(["F32"])}),
    "shape is text": safetensors_file({"a": {"dtype": "F32", "shape": "3", "data_offsets": [0, 12]}}),
    "negative shape": safetensors_file({"a": entry(shape=(-3,))}),
    "shape of floats": safetensors_file({"a": entry(shape=(3.0,))}),
    "shape of bools": safetensors_file({"a": entry(shape=(True, 3))}),
    "huge shape": safetensors_file({"a": entry(shape=(2**40, 2**40))}),
    "empty but huge": safetensors_file({"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}, data=b""),
    "long number": safetensors_file(b'{"a": ' + b"1" * 5000 + b"}"),
    "too many axes": safetensors_file({"a": entry(shape=[1] * 33 + [3])}),
    "another shape": safetensors_file({"a": entry(shape=(2, 2))}),
    "offsets backwards": safetensors_file({"a": entry(offsets=(12, 0))}),
    "three offsets": safetensors_file({"a": entry(offsets=(0, 6, 12))}),
    "offsets negative": safetensors_file({"a": entry(offsets=(-12, 0))}),
    "offsets too far": safetensors_file({"a": entry(offsets=(4, 16))}),
    "a gap": safetensors_file({"a": entry(offsets=(4, 16))}, data=bytes(16)),
    "an overlap": safetensors_file({"a": entry(), "b": entry()}),
    "data too short": safetensors_file({"a": entry()}, data=bytes(11)),
    "data too long": safetensors_file({"a": entry()}, data=bytes(13)),
}


def test_the_unbroken_file_is_read(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(safetensors_file({"a": entry(), "__metadata__": {"b": "c"}}))
    assert list(read_safetensors(tmp_path / "x.safetensors")) == ["a"]


@pytest.mark.parametrize("content", BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_every_broken_file_is_rejected(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors: "):
        read_safetensors(tmp_path / "x.safetensors")


# Sharded models.


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", "", 1, ".safetensors"]
)
def test_a_shard_outside_the_folder_is_rejected(hub_copy, shard):
    folder = hub_copy("sharded")
    path = folder / "model.safetensors.index.json"
    edit_json(path, weight_map={**read_json(path)["weight_map"], "transformer.wte.weight": shard})
    with pytest.raises(CheckpointError, match=r"is not the name of a \.safetensors file"):
        find_model_dir(str(folder))


def test_an_index_that_contradicts_the_shards_is_rejected(hub_copy):
    folder = hub_copy("sharded")
    path = folder / "model.safetensors.index.json"
    shard_of = read_json(path)["weight_map"]
    other = shard_of["lm_head.weight"]
    assert other != shard_of["transformer.ln_f.bias"]
    edit_json(path, weight_map={**shard_of, "transformer.ln_f.bias": other})
    with pytest.raises(CheckpointError, match=r"tensor transformer\.ln_f\.bias is in .*, but not according"):
        load_encoder_hparams_and_params(str(folder))
    edit_json(path, weight_map={**shard_of, "x": other})
    with pytest.raises(CheckpointError, match=f"tensor x is not in {other}"):
        load_encoder_hparams_and_params(str(folder))
