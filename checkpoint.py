"""Bytes on disk to named NumPy arrays: TensorFlow V2 checkpoints, read without TensorFlow.

A checkpoint ("tensor bundle") is a table of contents and one or more files of data:

    <prefix>.data-00000-of-00001    the tensors' raw little-endian bytes, one tensor after the other
    <prefix>.index                  which tensor lies where, as a LevelDB table of sorted keys and values

The table is a row of blocks and a footer; each level says where the next one lies:

    data block | ... | data block | metaindex block (empty) | index block | footer
        ^                  ^                                      ^            |
        |                  +---------- one entry a block ---------+------------+

Formats: LevelDB's doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto and
core/framework/tensor_shape.proto; the protocol buffers' encoding guide; crc32c as in RFC 3720, appendix B.4.
"""

import functools
import math
import mmap
from pathlib import Path

import numpy as np

FOOTER_SIZE = 48
TABLE_MAGIC = 0xDB4775248B80FB57
BUNDLE_VERSION = 1
MAX_RANK = 32  # NumPy 1's limit

# How a field of a protocol buffer is stored: its "wire type".
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# Field number -> name and wire type, of the fields that are used here.
BUNDLE_HEADER = {1: ("num_shards", VARINT), 2: ("endianness", VARINT), 3: ("version", BYTES)}
VERSION = {2: ("min_consumer", VARINT)}
BUNDLE_ENTRY = {
    1: ("dtype", VARINT),
    2: ("shape", BYTES),
    3: ("shard_id", VARINT),
    4: ("offset", VARINT),
    5: ("size", VARINT),
    7: ("slices", BYTES),
}
TENSOR_SHAPE = {2: ("dim", BYTES), 3: ("unknown_rank", VARINT)}
DIM = {1: ("size", VARINT)}

# TensorFlow's number of a type -> its name, and how NumPy reads it (bfloat16, which it lacks, as raw bits).
DTYPES = {
    1: ("float32", "<f4"),
    2: ("float64", "<f8"),
    3: ("int32", "<i4"),
    9: ("int64", "<i8"),
    14: ("bfloat16", "<u2"),
    19: ("float16", "<f2"),
}


class CheckpointError(ValueError):
    """A model's file is damaged, or not of the format it should be."""


def read_tf_checkpoint(prefix):
    """Read all tensors of a TensorFlow V2 checkpoint.

    Args:
        prefix: path of the checkpoint without its endings, as TensorFlow names it: "models/124M/model.ckpt".

    Returns:
        {variable name: np.ndarray}, read-only. float32 (and integer) tensors are views of the mapped file,
        of which only the pages that are used are ever read; float16, bfloat16 and float64 become float32.
        The index is checked against its checksums; the tensors have some too, which are not looked at.

    Raises:
        CheckpointError: a file is damaged or not understood. The message names the file and the fault.
        FileNotFoundError: one of the checkpoint's files is missing.
    """
    index_path = Path(f"{prefix}.index")
    try:
        num_shards, entries = parse_index(index_path.read_bytes())
    except CheckpointError as fault:
        raise CheckpointError(f"{index_path}: {fault}") from None

    @functools.cache
    def shard(shard_id):
        path = Path(f"{prefix}.data-{shard_id:05d}-of-{num_shards:05d}")
        return path, map_file(path)

    tensors = {}
    for name, entry in entries.items():
        path, data = shard(entry["shard_id"])
        try:
            tensors[name] = read_tensor(data, entry)
        except CheckpointError as fault:
            raise CheckpointError(f"{path}: tensor {name}: {fault}") from None
    return tensors


def map_file(path):
    """Map a whole file into memory, read-only (an empty file, which cannot be mapped, is read)."""
    with open(path, "rb") as file:
        is_empty = path.stat().st_size == 0
        return b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_tensor(data, entry):
    """One tensor of a data file, as its entry in the index describes it -> a read-only array."""
    name, dtype = DTYPES[entry["dtype"]]
    end = entry["offset"] + entry["size"]
    if end > len(data):
        raise CheckpointError(f"its bytes end at {end}, but the file has {len(data)}; it is cut short")
    try:
        tensor = np.ndarray(entry["shape"], dtype, buffer=data, offset=entry["offset"])
    except (ValueError, OverflowError):
        raise CheckpointError(f"shape {entry['shape']} is too large for NumPy") from None
    if name == "bfloat16":  # the upper half of a float32
        tensor = np.left_shift(tensor, 16, dtype="<u4")[...].view("<f4")
    if name in ("float16", "float64"):
        tensor = tensor.astype(np.float32)
    tensor.flags.writeable = False
    return tensor


# The index file: a bundle's header and entries, in the values of a table.


def parse_index(table):
    """Read an index file: its bytes -> number of data files, {tensor name: its entry as a dict}.

    An entry has "dtype" (a key of DTYPES), "shape" (a tuple), "shard_id" (which data file), "offset" and
    "size" (in bytes). All are checked, except that they lie inside the data file: only that file can tell.
    """
    records = table_records(table)
    if "" not in records:
        raise CheckpointError("the bundle's header is missing")
    header = parse_proto(records.pop(""), BUNDLE_HEADER)
    if header["num_shards"] < 1:
        raise CheckpointError("the header names no data file")
    if header["endianness"] != 0:
        raise CheckpointError("its tensors are big-endian, which is not supported")
    if parse_proto(header["version"], VERSION)["min_consumer"] > BUNDLE_VERSION:
        raise CheckpointError("it was written for a newer version of the format, which is not supported")

    entries = {}
    for name, record in records.items():
        try:
            entries[name] = parse_entry(record, header["num_shards"])
        except CheckpointError as fault:
            raise CheckpointError(f"tensor {name}: {fault}") from None
    return header["num_shards"], entries


def parse_entry(record, num_shards):
    """One BundleEntryProto -> a dict of its fields, with the shape as a tuple."""
    entry = parse_proto(record, BUNDLE_ENTRY, repeated=("slices",))
    if entry["dtype"] not in DTYPES:
        known = ", ".join(name for name, _ in DTYPES.values())
        raise CheckpointError(f"its dtype is TensorFlow's number {entry['dtype']}, which is none of {known}")
    if entry["slices"]:
        raise CheckpointError("it is stored in slices, which is not supported")
    if entry["shard_id"] >= num_shards:
        raise CheckpointError(f"it lies in data file {entry['shard_id']}, but there are {num_shards}")

    shape = parse_proto(entry["shape"], TENSOR_SHAPE, repeated=("dim",))
    if shape["unknown_rank"] or len(shape["dim"]) > MAX_RANK:
        raise CheckpointError(f"its shape is not known, or has more than {MAX_RANK} axes")
    entry["shape"] = tuple(parse_proto(dim, DIM)["size"] for dim in shape["dim"])

    name, dtype = DTYPES[entry["dtype"]]
    size = math.prod(entry["shape"]) * np.dtype(dtype).itemsize
    if entry["size"] != size:
        raise CheckpointError(f"{entry['size']} bytes are not {entry['shape']} of {name}, which takes {size}")
    return entry


# The table that the index file is.


def table_records(table):
    """All keys and values of a LevelDB table: its bytes -> {key as str: value as bytes}."""
    if len(table) < FOOTER_SIZE:
        raise CheckpointError(f"{len(table)} bytes are too few for a checkpoint's index")
    blocks, footer = table[:-FOOTER_SIZE], table[-FOOTER_SIZE:]
    if int.from_bytes(footer[40:], "little") != TABLE_MAGIC:
        raise CheckpointError("it does not end as a checkpoint's index does: not an index, or cut short")
    metaindex_handle, position = read_handle(footer[:40], 0)
    index_handle, position = read_handle(footer[:40], position)
    if any(footer[position:40]):
        raise CheckpointError("the footer is damaged")
    if list(block_records(read_block(blocks, metaindex_handle))):
        raise CheckpointError("the metaindex block is not empty")

    records = {}
    last_key, last_end = None, 0
    for _, handle_bytes in block_records(read_block(blocks, index_handle)):
        (offset, size), position = read_handle(handle_bytes, 0)
        if position != len(handle_bytes) or offset < last_end:
            raise CheckpointError("the index block is damaged")
        last_end = offset + size
        for key, value in block_records(read_block(blocks, (offset, size))):
            if last_key is not None and key <= last_key:
                raise CheckpointError(f"key {key!r} is out of order")
            last_key = key
            try:
                records[key.decode("utf-8")] = value
            except UnicodeDecodeError:
                raise CheckpointError(f"key {key!r} is not UTF-8") from None
    return records


def read_block(blocks, handle):
    """The contents of the block at `handle` = (offset, size), checked against the crc32c that follows it."""
    offset, size = handle
    contents, position = read_bytes(blocks, offset, size)
    compression, position = read_bytes(blocks, position, 1)
    stored_crc, position = read_bytes(blocks, position, 4)
    if masked_crc32c(contents + compression) != int.from_bytes(stored_crc, "little"):
        raise CheckpointError(f"the block at byte {offset} does not match its checksum: the file is damaged")
    if compression != b"\0":
        raise CheckpointError("it is compressed, which is not supported (TensorFlow's own are not)")
    return contents


def block_records(block):
    """Yield the (key, value) pairs of a block. A key is stored without the prefix it shares with the last."""
    restart_count, _ = read_bytes(block, max(0, len(block) - 4), 4)
    end = len(block) - 4 - 4 * int.from_bytes(restart_count, "little")
    if end < 0:
        raise CheckpointError("a block's restart points do not fit in it")
    records, position, key = block[:end], 0, b""
    while position < end:
        n_shared, position = read_varint(records, position)
        n_own, position = read_varint(records, position)
        n_value, position = read_varint(records, position)
        if n_shared > len(key):
            raise CheckpointError("a key shares more with the one before it than that one has")
        own, position = read_bytes(records, position, n_own)
        value, position = read_bytes(records, position, n_value)
        key = key[:n_shared] + own
        yield key, value


def read_handle(data, position):
    """Where a block lies -> ((offset, size), next position)."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


# Bytes.


def parse_proto(message, schema, repeated=()):
    """Decode a protocol buffer message: its bytes -> {field name: value}, of the fields that `schema` names.

    A number that is not there is 0, and bytes are b"". Of a field that comes twice the later one counts, but
    the values of a `repeated` field make a list.
    """
    fields = {name: b"" if wire_type == BYTES else 0 for name, wire_type in schema.values()}
    fields.update((name, []) for name in repeated)
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        wire_type = tag & 7
        name, expected = schema.get(tag >> 3, (None, wire_type))
        if wire_type != expected:
            raise CheckpointError(f"the field {name} is not of its type")
        if wire_type == VARINT:
            value, position = read_varint(message, position)
        elif wire_type == BYTES:
            size, position = read_varint(message, position)
            value, position = read_bytes(message, position, size)
        elif wire_type in (FIXED32, FIXED64):
            value, position = read_bytes(message, position, 4 if wire_type == FIXED32 else 8)
        else:
            raise CheckpointError(f"a field has the unknown wire type {wire_type}")
        if name in repeated:
            fields[name].append(value)
        elif name is not None:
            fields[name] = value
    return fields


def read_varint(data, position):
    """A number, 7 bits a byte, lowest first; only its last byte lacks the high bit -> (it, next position)."""
    number = 0
    for shift in range(0, 64, 7):
        byte, position = read_bytes(data, position, 1)
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    if byte[0] >= 0x80 or (byte[0] == 0 and shift > 0):
        raise CheckpointError("a number has more bytes than it needs or may have")
    return number, position


def read_bytes(data, position, size):
    """data[position : position + size], all of it -> (those bytes, next position)."""
    end = position + size
    if end > len(data):
        raise CheckpointError(f"it is damaged: bytes {position} to {end} of {len(data)} are wanted")
    return data[position:end], end


def masked_crc32c(data):
    """The checksum of `data` as LevelDB stores it: crc32c, rotated, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data):
    """The Castagnoli checksum of `data`, one table look-up a byte: an index is a few kilobytes."""
    table, crc = crc32c_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


@functools.cache
def crc32c_table():
    """What each of the 256 bytes does to the checksum."""
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table
