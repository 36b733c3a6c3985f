"""The checkpoint reader against files that TensorFlow wrote, and against broken ones."""

import mmap
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.bundle_writer import message, write_bundle
from support.paths import DATA_FILE

from loading.tf_checkpoint import check_tf_tensors, read_tf_checkpoint
from loading.untrusted_files import CheckpointError
from utils import DEMO_DIR

DEMO = DEMO_DIR / "model.ckpt"
DEMO_INDEX = DEMO_DIR / "model.ckpt.index"
DEMO_DATA = DEMO_DIR / DATA_FILE


def test_rewriting_the_demo_gives_the_bytes_that_tensorflow_wrote(tmp_path):
    tensors = read_tf_checkpoint(DEMO)
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    write_bundle(tmp_path / "model.ckpt", halves)
    assert (tmp_path / "model.ckpt.index").read_bytes() == DEMO_INDEX.read_bytes()
    assert (tmp_path / DATA_FILE).read_bytes() == DEMO_DATA.read_bytes()


def test_the_demo_has_the_tensors_of_its_model_card():
    tensors = read_tf_checkpoint(str(DEMO))
    assert sum(tensor.size for tensor in tensors.values()) == 5_853_184
    assert len(tensors) == 2 + 6 * 12 + 2
    assert tensors["model/wte"].shape == (4096, 256)
    assert tensors["model/h5/mlp/c_fc/w"].shape == (1, 256, 1024)
    for tensor in tensors.values():
        assert tensor.dtype == np.float32
        assert type(tensor) is np.ndarray
        assert not tensor.flags.writeable


def test_float32_is_a_view_of_the_mapped_file(tmp_path):
    write_bundle(tmp_path / "x", {"a": np.arange(6, dtype=np.float32).reshape(2, 3)})
    tensor = read_tf_checkpoint(tmp_path / "x")["a"]
    assert type(tensor) is np.ndarray
    assert not tensor.flags.writeable
    assert isinstance(tensor.base, mmap.mmap)


any_array = {
    np.dtype(name): arrays(name, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    for name in ("float32", "int32", "int64", "float16", "uint16")
}
any_array[np.dtype("float64")] = arrays(
    "float64", array_shapes(min_dims=0, max_side=4), elements=st.floats(width=32)
)


@given(
    tensors=st.dictionaries(st.text(min_size=1, max_size=30), st.one_of(*any_array.values()), min_size=1),
    n_shards=st.integers(1, 4),
    block_size=st.integers(1, 300),
)
def test_any_checkpoint_reads_as_it_was_written(tmp_path_factory, tensors, n_shards, block_size):
    prefix = tmp_path_factory.mktemp("bundle") / "model.ckpt"
    write_bundle(prefix, tensors, n_shards, block_size)
    read = read_tf_checkpoint(prefix)
    assert list(read) == sorted(tensors, key=str.encode)
    for name, written in tensors.items():
        expected = written
        if written.dtype == np.uint16:  # stands for bfloat16, the upper half of a float32
            halves = np.stack([np.zeros_like(written), written], axis=-1)  # [..., 2], little-endian
            expected = np.asarray(halves.view(np.float32)[..., 0])
        elif written.dtype.kind == "f":
            expected = written.astype(np.float32)
        assert read[name].dtype == expected.dtype
        np.testing.assert_array_equal(read[name], expected, strict=True)
        assert not read[name].flags.writeable


# Damaged files.


@pytest.mark.parametrize("size", [0, 1, 10_000, 11_706_367])
def test_a_truncated_data_file_is_named(tmp_path, size):
    shutil.copy(DEMO_INDEX, tmp_path)
    (tmp_path / DATA_FILE).write_bytes(DEMO_DATA.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=rf"{DATA_FILE}: tensor model/.*truncated"):
        read_tf_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("missing", ["model.ckpt.index", DATA_FILE])
def test_a_missing_file_is_named(tmp_path, missing):
    for file in (DEMO_INDEX, DEMO_DATA):
        shutil.copy(file, tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        read_tf_checkpoint(tmp_path / "model.ckpt")


BROKEN_HEADERS = {
    "no data file": {1: 0},
    "big-endian": {2: 1},
    "unknown endianness": {2: 7},
    "newer version": {3: message({1: 9, 2: 9})},
    "num_shards is bytes": {1: b"1"},
    "version is a number": {3: 1},
    "unknown wire type": {1: [1], 3: [b"", bytes([0x0F])]},
}


@pytest.mark.parametrize("header", BROKEN_HEADERS.values(), ids=BROKEN_HEADERS)
def test_every_broken_header_is_rejected(tmp_path, header):
    write_bundle(tmp_path / "x", {"a": np.zeros(3, np.float32)}, header=header)
    with pytest.raises(CheckpointError, match=r"x\.index: "):
        read_tf_checkpoint(tmp_path / "x")


def shape(*sizes):
    return message({2: [message({1: size}) for size in sizes]})


BROKEN_ENTRIES = {
    "no dtype": {1: 0},
    "string": {1: 7},
    "unknown dtype": {1: 99},
    "dtype of another size": {1: 2},
    "dtype is bytes": {1: b"\1"},
    "another shape": {2: shape(2, 2)},
    "no shape": {2: b""},
    "negative size": {2: shape(2**64 - 3)},
    "huge shape": {2: shape(2**40, 2**40)},
    "empty but huge": {2: shape(0, 2**62, 2**62), 5: 0},
    "too many axes": {2: shape(*[1] * 33, 3)},
    "too many huge axes": {2: shape(*[2**63] * 300)},
    "unknown rank": {2: message({3: 1}) + shape(3)},
    "shape is a number": {2: 3},
    "dim is a number": {2: message({2: 3})},
    "truncated shape": {2: shape(3)[:-1]},
    "no such shard": {3: 1},
    "shard is bytes": {3: b"\1"},
    "offset too far": {4: 4},
    "offset huge": {4: 2**63},
    "offset of 70 bits": {4: 2**70},
    "too few bytes": {5: 8},
    "too many bytes": {5: 16},
    "slices": {7: b""},
}


@pytest.mark.parametrize("entry", BROKEN_ENTRIES.values(), ids=BROKEN_ENTRIES)
def test_every_broken_entry_is_rejected(tmp_path, entry):
    write_bundle(tmp_path / "x", {"a": np.zeros(3, np.float32)}, entries={"a": entry})
    with pytest.raises(CheckpointError, match=r"x\..*: tensor a: "):
        read_tf_checkpoint(tmp_path / "x")


def test_overlapping_tensors_are_rejected(tmp_path):
    """300 tensors that share 10 MB would take 6 GB of memory."""
    halves = {f"h{n}": np.zeros(5, np.float16) for n in range(3)}
    write_bundle(tmp_path / "x", halves, entries={"h2": {4: 10}})
    with pytest.raises(CheckpointError, match="tensor h2: its bytes overlap those of another tensor"):
        read_tf_checkpoint(tmp_path / "x")


# Checksums of the tensors.


def check_tensors(prefix):
    return list(check_tf_tensors(f"{prefix}.index", f"{prefix}.data-00000-of-00001"))


def test_the_demo_matches_the_checksums_of_tensorflow():
    checks = check_tensors(DEMO)
    assert len(checks) == 2 + 6 * 12 + 2
    assert all(is_good for _, _, _, is_good in checks)
    assert sum(size for _, _, size, _ in checks) == DEMO_DATA.stat().st_size


@given(position=st.integers(0, 999), bit=st.integers(0, 7))
def test_any_flipped_bit_is_detected(tmp_path_factory, position, bit):
    prefix = tmp_path_factory.mktemp("bundle") / "model.ckpt"
    write_bundle(prefix, {f"v{n}": np.arange(50, dtype=np.float32) for n in range(5)})
    content = bytearray(prefix.with_name(DATA_FILE).read_bytes())
    content[position] ^= 1 << bit
    prefix.with_name(DATA_FILE).write_bytes(content)
    damaged = [(offset, size) for _, offset, size, is_good in check_tensors(prefix) if not is_good]
    assert damaged == [(position // 200 * 200, 200)]


def test_a_truncated_tensor_does_not_match(tmp_path):
    write_bundle(tmp_path / "model.ckpt", {"a": np.zeros(3, np.float32), "b": np.ones(3, np.float32)})
    (tmp_path / DATA_FILE).write_bytes(bytes(20))
    checks = check_tf_tensors(tmp_path / "model.ckpt.index", tmp_path / DATA_FILE)
    assert next(checks) == ("a", 0, 12, True)
    assert next(checks) == ("b", 12, 12, False)


@pytest.mark.parametrize(("entries", "extra"), [({"b": {4: 16}}, b"1234"), ({}, b"1")])
def test_bytes_that_belong_to_no_tensor_are_detected(tmp_path, entries, extra):
    tensors = {"a": np.zeros(3, np.float32), "b": np.ones(3, np.float32)}
    write_bundle(tmp_path / "model.ckpt", tensors, entries=entries)
    with open(tmp_path / DATA_FILE, "ab") as file:
        file.write(extra)
    with pytest.raises(CheckpointError, match=r"belong to no tensor|has 25 bytes, but its tensors have 24"):
        check_tensors(tmp_path / "model.ckpt")
