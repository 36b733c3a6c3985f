"""The checkpoint reader against files that TensorFlow wrote, and against every way to break them."""

import json
import mmap
import shutil

import bundle_writer
import numpy as np
import pytest
import safetensors.numpy
from bundle_writer import block, message, varint, with_trailer, write_bundle
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import checkpoint
from checkpoint import CheckpointError, read_tf_checkpoint
from safetensors_file import read_safetensors
from utils import DEMO_DIR

DEMO = DEMO_DIR / "model.ckpt"
INDEX = DEMO.with_suffix(".ckpt.index").read_bytes()
DATA = "model.ckpt.data-00000-of-00001"


def test_reading_and_writing_the_demo_gives_the_bytes_that_tensorflow_wrote(tmp_path):
    tensors = read_tf_checkpoint(DEMO)
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    write_bundle(tmp_path / "model.ckpt", halves)
    assert (tmp_path / "model.ckpt.index").read_bytes() == INDEX
    assert (tmp_path / DATA).read_bytes() == DEMO.with_name(DATA).read_bytes()


def test_demo_has_the_tensors_of_its_model_card():
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


numbers = {
    np.dtype(name): arrays(name, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    for name in ("float32", "int32", "int64", "float16", "uint16")
}
numbers[np.dtype("float64")] = arrays(
    "float64", array_shapes(min_dims=0, max_side=4), elements=st.floats(width=32)
)


@given(
    tensors=st.dictionaries(st.text(min_size=1, max_size=30), st.one_of(*numbers.values()), min_size=1),
    n_shards=st.integers(1, 4),
    block_size=st.integers(1, 300),
)
def test_any_bundle_reads_as_what_was_written(tmp_path_factory, tensors, n_shards, block_size):
    prefix = tmp_path_factory.mktemp("bundle") / "model.ckpt"
    write_bundle(prefix, tensors, n_shards, block_size)
    read = read_tf_checkpoint(prefix)
    assert list(read) == sorted(tensors, key=str.encode)
    for name, written in tensors.items():
        expected = written
        if written.dtype == np.uint16:  # the upper half of a float32
            halves = np.stack([np.zeros_like(written), written], axis=-1)  # [..., 2], little-endian
            expected = np.asarray(halves.view(np.float32)[..., 0])
        elif written.dtype.kind == "f":
            expected = written.astype(np.float32)
        assert read[name].dtype == expected.dtype
        np.testing.assert_array_equal(read[name], expected, strict=True)
        assert not read[name].flags.writeable


def test_bfloat16_values(tmp_path):
    bits = np.array([0x3F80, 0xBF80, 0x4049, 0x7F80, 0x0000], np.uint16)
    write_bundle(tmp_path / "x", {"a": bits})
    expected = np.array([1, -1, 3.140625, np.inf, 0], np.float32)
    np.testing.assert_array_equal(read_tf_checkpoint(tmp_path / "x")["a"], expected, strict=True)


# Damage.


def test_every_changed_byte_of_the_index_is_found():
    for position in range(len(INDEX)):
        damaged = bytearray(INDEX)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CheckpointError):
            checkpoint.parse_index(bytes(damaged))


def test_every_cut_of_the_index_is_found():
    for size in range(len(INDEX)):
        with pytest.raises(CheckpointError):
            checkpoint.parse_index(INDEX[:size])


@pytest.mark.parametrize("size", [0, 1, 10_000, 11_706_367])
def test_a_data_file_cut_short_is_named(tmp_path, size):
    shutil.copy(DEMO.with_suffix(".ckpt.index"), tmp_path)
    (tmp_path / DATA).write_bytes(DEMO.with_name(DATA).read_bytes()[:size])
    with pytest.raises(CheckpointError, match=rf"{DATA}: tensor model/.*cut short"):
        read_tf_checkpoint(tmp_path / "model.ckpt")


@pytest.mark.parametrize("missing", ["model.ckpt.index", DATA])
def test_a_missing_file_is_named(tmp_path, missing):
    for file in ("model.ckpt.index", DATA):
        shutil.copy(DEMO.with_name(file), tmp_path)
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
def test_every_broken_field_of_the_header_is_found(tmp_path, header):
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
    "shape ends early": {2: shape(3)[:-1]},
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
def test_every_broken_field_of_an_entry_is_found(tmp_path, entry):
    write_bundle(tmp_path / "x", {"a": np.zeros(3, np.float32)}, entries={"a": entry})
    with pytest.raises(CheckpointError, match=r"x\..*: tensor a: "):
        read_tf_checkpoint(tmp_path / "x")


def index_of(data_block, handle=None, compression=b"\0", metaindex=(), padding=b"", magic=None, times=1):
    """An index file of one data block, given as bytes, with right checksums and one thing wrong."""
    contents = with_trailer(data_block, compression)
    meta_handle = varint(len(contents)) + varint(len(block(metaindex)))
    contents += with_trailer(block(metaindex))
    handle = handle or varint(0) + varint(len(data_block))
    index_block = block([(b"z" * n, handle) for n in range(1, times + 1)])
    footer = meta_handle + varint(len(contents)) + varint(len(index_block)) + padding
    contents += with_trailer(index_block)
    return contents + footer.ljust(40, b"\0") + (magic or bundle_writer.TABLE_MAGIC).to_bytes(8, "little")


HEADER = (b"", message({1: 1}))
GOOD = block([HEADER])
BROKEN_TABLES = {
    "magic": index_of(GOOD, magic=1),
    "padding": index_of(GOOD, padding=b"\0\0\1"),
    "metaindex": index_of(GOOD, metaindex=[(b"filter", b"")]),
    "snappy": index_of(GOOD, compression=b"\1"),
    "handle past the end": index_of(GOOD, handle=varint(10**6) + varint(len(GOOD))),
    "handle of 70 bits": index_of(GOOD, handle=varint(2**70) + varint(len(GOOD))),
    "handle too long": index_of(GOOD, handle=varint(0) + varint(len(GOOD)) + b"\0"),
    "handle too short": index_of(GOOD, handle=varint(128)[:1]),
    "block too long": index_of(GOOD, handle=varint(0) + varint(len(GOOD) + 1)),
    "block of nothing": index_of(b""),
    "no header": index_of(block([])),
    "restart points": index_of(GOOD[:-4] + varint(100).ljust(4, b"\0")),
    "shared of nothing": index_of(varint(1) + GOOD[1:]),
    "key past the end": index_of(GOOD[:1] + varint(100) + GOOD[2:]),
    "value past the end": index_of(GOOD[:2] + varint(100) + GOOD[3:]),
    "key twice": index_of(block([HEADER, HEADER])),
    "keys out of order": index_of(block([HEADER, (b"b", b""), (b"a", b"")])),
    "key not UTF-8": index_of(block([HEADER, (b"\xff", b"")])),
    "empty file": b"",
    "zeros": bytes(1000),
    "a web page": b"<html>" * 100,
}


def test_the_unbroken_table_is_fine():
    assert checkpoint.parse_index(index_of(GOOD)) == (1, {})


def test_a_block_is_read_once():
    """Or a small file with a thousand handles to one large block would take hours."""
    with pytest.raises(CheckpointError, match="the index block is damaged"):
        checkpoint.parse_index(index_of(block([]), times=2))


@pytest.mark.parametrize("table", BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_every_broken_field_of_the_table_is_found(tmp_path, table):
    (tmp_path / "x.index").write_bytes(table)
    with pytest.raises(CheckpointError, match=r"x\.index: "):
        read_tf_checkpoint(tmp_path / "x")


# Hostile indexes: small, with right checksums, and all the same not to be believed.


def test_tensors_that_share_bytes_are_refused(tmp_path):
    """300 tensors of the same 10 MB would be 6 GB."""
    halves = {f"h{n}": np.zeros(5, np.float16) for n in range(3)}
    write_bundle(tmp_path / "x", halves, entries={"h2": {4: 10}})
    with pytest.raises(CheckpointError, match="tensor h2: its bytes are those of another tensor, too"):
        read_tf_checkpoint(tmp_path / "x")


def test_a_key_has_a_limit(tmp_path):
    """One of a megabyte, stored once, could be shared by thousands of entries."""
    write_bundle(tmp_path / "x", {"k" * 200: np.zeros(3, np.float32)})
    assert list(read_tf_checkpoint(tmp_path / "x")) == ["k" * 200]
    write_bundle(tmp_path / "x", {"k" * 201: np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match="a key has more than 200 bytes"):
        read_tf_checkpoint(tmp_path / "x")


def test_an_index_has_a_limit(tmp_path):
    (tmp_path / "x.index").write_bytes(bytes(2**18 + 1))
    with pytest.raises(CheckpointError, match=r"x\.index: more than 262144 bytes are too many"):
        read_tf_checkpoint(tmp_path / "x")


# The tensors' checksums.


def check_tensors(prefix):
    return list(checkpoint.check_tf_tensors(f"{prefix}.index", f"{prefix}.data-00000-of-00001"))


def test_the_tensors_of_tensorflow_match_their_checksums():
    checks = check_tensors(DEMO)
    assert len(checks) == 2 + 6 * 12 + 2
    assert all(is_good for _, _, _, is_good in checks)
    assert sum(size for _, _, size, _ in checks) == DEMO.with_name(DATA).stat().st_size


@given(position=st.integers(0, 999), bit=st.integers(0, 7))
def test_any_changed_bit_is_found(tmp_path_factory, position, bit):
    prefix = tmp_path_factory.mktemp("bundle") / "model.ckpt"
    write_bundle(prefix, {f"v{n}": np.arange(50, dtype=np.float32) for n in range(5)})
    content = bytearray(prefix.with_name(DATA).read_bytes())
    content[position] ^= 1 << bit
    prefix.with_name(DATA).write_bytes(content)
    damaged = [(offset, size) for _, offset, size, is_good in check_tensors(prefix) if not is_good]
    assert damaged == [(position // 200 * 200, 200)]


def test_data_cut_short_do_not_match(tmp_path):
    write_bundle(tmp_path / "model.ckpt", {"a": np.zeros(3, np.float32), "b": np.ones(3, np.float32)})
    (tmp_path / DATA).write_bytes(bytes(20))
    checks = checkpoint.check_tf_tensors(tmp_path / "model.ckpt.index", tmp_path / DATA)
    assert next(checks) == ("a", 0, 12, True)
    assert next(checks) == ("b", 12, 12, False)


@pytest.mark.parametrize(("entries", "extra"), [({"b": {4: 16}}, b"1234"), ({}, b"1")])
def test_bytes_that_belong_to_no_tensor_are_found(tmp_path, entries, extra):
    tensors = {"a": np.zeros(3, np.float32), "b": np.ones(3, np.float32)}
    write_bundle(tmp_path / "model.ckpt", tensors, entries=entries)
    with open(tmp_path / DATA, "ab") as file:
        file.write(extra)
    with pytest.raises(CheckpointError, match=r"belong to no tensor|it has 25 bytes, its tensors 24"):
        check_tensors(tmp_path / "model.ckpt")


# safetensors.

IN_SAFETENSORS = ("float32", "float16", "int32", "int64", "uint8", "bool")
their_numbers = [
    arrays(name, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)) for name in IN_SAFETENSORS
]


names_in_safetensors = st.text(min_size=1).filter("__metadata__".__ne__)


@given(st.dictionaries(names_in_safetensors, st.one_of(*their_numbers), min_size=1))
def test_safetensors_are_read_as_their_own_package_reads_them(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"format": "np"})
    ours, theirs = read_safetensors(path), safetensors.numpy.load_file(path)
    assert ours.keys() == theirs.keys()
    for name, their in theirs.items():
        expected = their.astype(np.float32) if their.dtype == np.float16 else their
        assert ours[name].dtype == expected.dtype
        np.testing.assert_array_equal(ours[name], expected, strict=True)
        assert not ours[name].flags.writeable


def test_doubles_and_bfloat16_become_float32(tmp_path):
    bits = np.array([0x3F80, 0xBF80, 0x4049, 0x7F80, 0x0000], np.uint16)
    doubles = np.array([[1.1, -2.2e-40]], np.float64)
    header = {"b": entry("BF16", (5,), (0, 10)), "d": entry("F64", (1, 2), (10, 26))}
    content = safetensors_file(header, bits.tobytes() + doubles.tobytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    tensors = read_safetensors(tmp_path / "model.safetensors")
    expected = np.array([1, -1, 3.140625, np.inf, 0], np.float32)
    np.testing.assert_array_equal(tensors["b"], expected, strict=True)
    np.testing.assert_array_equal(tensors["d"], doubles.astype(np.float32), strict=True)


def test_a_float32_safetensor_is_a_view_of_the_mapped_file(tmp_path):
    safetensors.numpy.save_file({"a": np.zeros((2, 3), np.float32)}, tmp_path / "x.safetensors")
    tensor = read_safetensors(tmp_path / "x.safetensors")["a"]
    assert type(tensor) is np.ndarray
    assert isinstance(tensor.base, mmap.mmap)


def safetensors_file(header, data=bytes(12), size=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


def entry(dtype="F32", shape=(3,), offsets=(0, 12), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


BROKEN_SAFETENSORS = {
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
    "one field more": safetensors_file({"a": entry(x=1)}),
    "unknown dtype": safetensors_file({"a": entry("F8_E4M3", (12,))}),
    "dtype is a list": safetensors_file({"a": entry(["F32"])}),
    "shape is text": safetensors_file({"a": {"dtype": "F32", "shape": "3", "data_offsets": [0, 12]}}),
    "negative shape": safetensors_file({"a": entry(shape=(-3,))}),
    "shape of floats": safetensors_file({"a": entry(shape=(3.0,))}),
    "shape of truths": safetensors_file({"a": entry(shape=(True, 3))}),
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


def test_the_unbroken_safetensors_file_is_fine(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(safetensors_file({"a": entry(), "__metadata__": {"b": "c"}}))
    assert list(read_safetensors(tmp_path / "x.safetensors")) == ["a"]


@pytest.mark.parametrize("content", BROKEN_SAFETENSORS.values(), ids=BROKEN_SAFETENSORS)
def test_every_broken_safetensors_file_is_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors: "):
        read_safetensors(tmp_path / "x.safetensors")
