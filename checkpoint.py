"""TensorFlow V2 checkpoints, read without TensorFlow: bytes on disk to named NumPy arrays, by mapping.

A checkpoint ("tensor bundle") is a table of contents and one or more files of data:

    <prefix>.data-00000-of-00001    the tensors' raw little-endian bytes, one tensor after the other
    <prefix>.index                  which tensor lies where, as a LevelDB table of sorted keys and values

Formats: tensorflow/core/protobuf/tensor_bundle.proto and core/framework/tensor_shape.proto. How the table and
the protocol buffers in it are read: index_table.py.
"""

import functools
import math
import mmap
import os
from pathlib import Path

import numpy as np

from crc32c import masked_crc32c
from files import CheckpointError, faults_of, read_bytes
from index_table import BYTES, FIXED32, VARINT, parse_proto, table_records

MAX_RANK = 32  # NumPy 1's limit

# How NumPy reads a type (bfloat16, which it lacks, as raw bits).
DTYPES = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "uint8": "|u1",
    "bool": "|b1",
}

# TensorFlow's number of a type -> a key of DTYPES.
TF_DTYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64", 14: "bfloat16", 19: "float16"}

BUNDLE_VERSION = 1
MAX_INDEX_SIZE = 2**18  # bytes: ten times what GPT-2 1558M needs

# Field number -> name and wire type, of the fields that are used here.
BUNDLE_HEADER = {1: ("num_shards", VARINT), 2: ("endianness", VARINT), 3: ("version", BYTES)}
VERSION = {2: ("min_consumer", VARINT)}
BUNDLE_ENTRY = {
    1: ("dtype", VARINT),
    2: ("shape", BYTES),
    3: ("shard_id", VARINT),
    4: ("offset", VARINT),
    5: ("size", VARINT),
    6: ("crc32c", FIXED32),
    7: ("slices", BYTES),
}
TENSOR_SHAPE = {2: ("dim", BYTES), 3: ("unknown_rank", VARINT)}
DIM = {1: ("size", VARINT)}


def read_tf_checkpoint(prefix):
    """Read all tensors of a TensorFlow V2 checkpoint.

    Args:
        prefix: path of the checkpoint without its endings, as TensorFlow names it: "models/124M/model.ckpt".

    Returns:
        {variable name: np.ndarray}, read-only. float32 (and integer) tensors are views of the mapped file,
        of which only the pages that are used are ever read; float16, bfloat16 and float64 become float32.
        The index is checked against its checksums; for the tensors' own see `check_tf_tensors`.

    Raises:
        CheckpointError: a file is damaged or not understood. The message names the file and the fault.
        FileNotFoundError: one of the checkpoint's files is missing.
    """
    num_shards, entries = read_index(f"{prefix}.index")

    @functools.cache
    def shard(shard_id):
        path = Path(f"{prefix}.data-{shard_id:05d}-of-{num_shards:05d}")
        return path, map_file(path)

    tensors = {}
    for name, entry in entries.items():
        path, data = shard(entry["shard_id"])
        with faults_of(f"{path}: tensor {name}"):
            tensors[name] = read_tensor(data, entry)
    return tensors


def check_tf_tensors(index_path, data_path):
    """Check the tensors of a checkpoint with one data file against their checksums, one after the other.

    Yields:
        (name, offset, size in bytes, whether it matches); what lies beyond the end of the file does not.

    Raises: as `read_tf_checkpoint`, and CheckpointError if the file has bytes that belong to no tensor.
    """
    num_shards, entries = read_index(index_path)
    if num_shards != 1:
        raise CheckpointError(f"{index_path}: the checkpoint has {num_shards} data files, not one")
    data, end = memoryview(map_file(data_path)), 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["offset"]):
        offset, size = entry["offset"], entry["size"]
        if offset != end:
            raise CheckpointError(f"{index_path}: bytes {end} to {offset} of the data belong to no tensor")
        end = offset + size
        crc = masked_crc32c(data[offset:end]).to_bytes(4, "little")
        yield name, offset, size, len(data) >= end and crc == entry["crc32c"]
    if len(data) != end:
        raise CheckpointError(f"{data_path}: it has {len(data)} bytes, its tensors {end}")


def map_file(path):
    """Map a whole file into memory, read-only (an empty file, which cannot be mapped, is read)."""
    with open(path, "rb") as file:
        is_empty = os.fstat(file.fileno()).st_size == 0
        return b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_tensor(data, entry):
    """One tensor of a file's bytes, as its entry describes it -> a read-only array."""
    end = entry["offset"] + entry["size"]
    if end > len(data):
        raise CheckpointError(f"its bytes end at {end}, but the file has {len(data)}; it is cut short")
    try:
        tensor = np.ndarray(entry["shape"], DTYPES[entry["dtype"]], buffer=data, offset=entry["offset"])
    except (ValueError, OverflowError):
        raise CheckpointError(f"shape {entry['shape']} is too large for NumPy") from None
    if entry["dtype"] == "bfloat16":  # the upper half of a float32
        tensor = np.left_shift(tensor, 16, dtype="<u4")[...].view("<f4")
    if entry["dtype"] in ("float16", "float64"):
        tensor = tensor.astype(np.float32)
    tensor.flags.writeable = False
    return tensor


def check_size(entry):
    """CheckpointError unless an entry has as many bytes as its shape and type need."""
    size = math.prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize
    if entry["size"] != size:
        what = f"{entry['shape']} of {entry['dtype']}"
        raise CheckpointError(f"{entry['size']} bytes are not {what}, which takes {size}")


def check_no_overlap(entries):
    """CheckpointError if two tensors share bytes: a small file could become many large arrays."""
    ends = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["offset"]):
        if entry["offset"] < ends.get(entry["shard_id"], 0):
            raise CheckpointError(f"tensor {name}: its bytes are those of another tensor, too")
        ends[entry["shard_id"]] = entry["offset"] + entry["size"]


# TensorFlow's index file: a bundle's header and entries, in the values of a table.


def read_index(path):
    """Read an index file -> number of data files, {tensor name: its entry}. See `parse_index`."""
    table = read_bytes(path, MAX_INDEX_SIZE)
    with faults_of(path):
        return parse_index(table)


def parse_index(table):
    """Read an index file: its bytes -> number of data files, {tensor name: its entry as a dict}.

    An entry has "dtype" (a key of DTYPES), "shape" (a tuple), "shard_id" (which data file), "offset" and
    "size" (in bytes), and "crc32c" (masked, 4 bytes). All are checked, except that the bytes lie inside the
    data file and match their checksum: only that file can tell.
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
        with faults_of(f"tensor {name}"):
            entries[name] = parse_entry(record, header["num_shards"])
    check_no_overlap(entries)
    return header["num_shards"], entries


def parse_entry(record, num_shards):
    """One BundleEntryProto -> a dict of its fields, with the shape as a tuple."""
    entry = parse_proto(record, BUNDLE_ENTRY, repeated=("slices",))
    if entry["dtype"] not in TF_DTYPES:
        known = ", ".join(TF_DTYPES.values())
        raise CheckpointError(f"its dtype is TensorFlow's number {entry['dtype']}, which is none of {known}")
    entry["dtype"] = TF_DTYPES[entry["dtype"]]
    if entry["slices"]:
        raise CheckpointError("it is stored in slices, which is not supported")
    if entry["shard_id"] >= num_shards:
        raise CheckpointError(f"it lies in data file {entry['shard_id']}, but there are {num_shards}")

    shape = parse_proto(entry["shape"], TENSOR_SHAPE, repeated=("dim",))
    if shape["unknown_rank"] or len(shape["dim"]) > MAX_RANK:
        raise CheckpointError(f"its shape is not known, or has more than {MAX_RANK} axes")
    entry["shape"] = tuple(parse_proto(dim, DIM)["size"] for dim in shape["dim"])

    check_size(entry)
    return entry
