"""Read TensorFlow V2 checkpoints without TensorFlow: files to named NumPy arrays.

A checkpoint ("tensor bundle") has an index, and one or more data files:

    <prefix>.index                  name, dtype, shape and place of each tensor: a LevelDB table
    <prefix>.data-00000-of-00001    the raw little-endian bytes of all tensors, in sequence

The values in the table are protocol buffers. Format: TensorFlow's core/protobuf/tensor_bundle.proto and
core/framework/tensor_shape.proto.
"""

import functools
from pathlib import Path

from loading.crc32c import masked_crc32c
from loading.dtype_conversion import MAX_RANK, check_size, read_tensor
from loading.leveldb_table import read_table
from loading.protobuf import BYTES, FIXED32, VARINT, parse_proto
from loading.untrusted_files import CheckpointError, error_context, map_file, read_bytes

MAX_INDEX_SIZE = 2**18  # bytes; GPT-2 1558M needs a tenth of it
BUNDLE_VERSION = 1

# TensorFlow's number of a dtype -> a key of dtype_conversion.NUMPY_DTYPES.
TF_DTYPES = {1: "float32", 2: "float64", 3: "int32", 9: "int64", 14: "bfloat16", 19: "float16"}

# Schemas of the protocol buffers: field number -> name and wire type. Unused fields are left out.
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
    """Read all tensors of a checkpoint.

    Verifies the checksums of the index. `check_tf_tensors` verifies those of the tensors.

    Args:
        prefix: the path without its endings, as TensorFlow names a checkpoint: "models/124M/model.ckpt".

    Returns:
        {tensor name: np.ndarray}, read-only. float32 and integer tensors are views of the memory-mapped
        files, so only pages that are used are read. float16, bfloat16 and float64 become float32.

    Raises:
        CheckpointError: a file is damaged or not supported. The message names the file and the defect.
        FileNotFoundError: a file is missing.
    """
    num_shards, entries = read_index(f"{prefix}.index")

    @functools.cache
    def shard(shard_id):
        path = Path(f"{prefix}.data-{shard_id:05d}-of-{num_shards:05d}")
        return path, map_file(path)

    tensors = {}
    for name, entry in entries.items():
        path, data = shard(entry["shard_id"])
        with error_context(f"{path}: tensor {name}"):
            tensors[name] = read_tensor(data, entry)
    return tensors


def check_tf_tensors(index_path, data_path):
    """Verify the checksum of each tensor in a checkpoint with one data file.

    Yields:
        (name, offset, size in bytes, whether the checksum matches). A truncated tensor does not match.

    Raises:
        CheckpointError: as `read_tf_checkpoint`; or the data file has bytes that belong to no tensor.
        FileNotFoundError: a file is missing.
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
        raise CheckpointError(f"{data_path}: the file has {len(data)} bytes, but its tensors have {end}")


def read_index(path):
    """Read an index file -> (number of data files, {tensor name: entry}). See `parse_index`."""
    table = read_bytes(path, MAX_INDEX_SIZE)
    with error_context(path):
        return parse_index(table)


def parse_index(table):
    """Parse the bytes of an index -> (number of data files, {tensor name: entry}).

    An entry is as in dtype_conversion.py, plus "shard_id" (the number of the data file) and "crc32c" (masked,
    4 bytes). Everything is checked here except the data: its length and its checksums.
    """
    records = read_table(table)
    if "" not in records:
        raise CheckpointError("the header of the checkpoint is missing")
    header = parse_proto(records.pop(""), BUNDLE_HEADER)
    if header["num_shards"] < 1:
        raise CheckpointError("the header names no data file")
    if header["endianness"] != 0:
        raise CheckpointError("big-endian checkpoints are not supported")
    if parse_proto(header["version"], VERSION)["min_consumer"] > BUNDLE_VERSION:
        raise CheckpointError("the checkpoint needs a newer version of the format, which is not supported")

    entries = {}
    for name, record in records.items():
        with error_context(f"tensor {name}"):
            entries[name] = parse_entry(record, header["num_shards"])
    check_no_overlap(entries)
    return header["num_shards"], entries


def parse_entry(record, num_shards):
    """Parse a BundleEntryProto -> entry."""
    entry = parse_proto(record, BUNDLE_ENTRY, repeated=("slices",))
    if entry["dtype"] not in TF_DTYPES:
        known = ", ".join(TF_DTYPES.values())
        raise CheckpointError(f"TensorFlow's dtype {entry['dtype']} is not supported, only {known}")
    entry["dtype"] = TF_DTYPES[entry["dtype"]]
    if entry["slices"]:
        raise CheckpointError("tensors in slices are not supported")
    if entry["shard_id"] >= num_shards:
        raise CheckpointError(f"the data file {entry['shard_id']} does not exist: there are {num_shards}")

    shape = parse_proto(entry["shape"], TENSOR_SHAPE, repeated=("dim",))
    if shape["unknown_rank"] or len(shape["dim"]) > MAX_RANK:
        raise CheckpointError(f"the shape is unknown, or has more than {MAX_RANK} axes")
    entry["shape"] = tuple(parse_proto(dim, DIM)["size"] for dim in shape["dim"])

    check_size(entry)
    return entry


def check_no_overlap(entries):
    """Raise CheckpointError if tensors share bytes: a small file could expand to many large arrays."""
    ends = {}
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["offset"]):
        if entry["offset"] < ends.get(entry["shard_id"], 0):
            raise CheckpointError(f"tensor {name}: its bytes overlap those of another tensor")
        ends[entry["shard_id"]] = entry["offset"] + entry["size"]
