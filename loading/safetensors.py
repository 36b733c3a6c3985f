"""Read safetensors, Hugging Face's format for weights: files to named NumPy arrays.

A file starts with a JSON header that describes its tensors:

    size of the header (8 bytes) | header: {name: {"dtype", "shape", "data_offsets"}} | bytes of the tensors

A large model is split into several such files, its shards. An index, model.safetensors.index.json, names the
shard of each tensor. Format: the README of safetensors, section "Format".
"""

import re
from pathlib import Path

from loading.dtype_conversion import MAX_RANK, check_size, read_tensor
from loading.untrusted_files import CheckpointError, error_context, map_file, parse_json, read_json

MAX_SHARDS = 1000
MAX_HEADER_SIZE = 2**20  # bytes; GPT-2 1558M needs a tenth of it
SHARD_NAME = re.compile(r"[\w-][\w.-]{0,200}\.safetensors", re.ASCII)  # never a path to another folder

# safetensors' name of a dtype -> a key of dtype_conversion.NUMPY_DTYPES.
SAFETENSORS_DTYPES = {
    "F32": "float32",
    "F64": "float64",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path):
    """Read all tensors of a model. The format has no checksums.

    Args:
        path: the file, or the index of a sharded model (.json).

    Returns:
        {tensor name: np.ndarray}, read-only. float32, integers and bool are views of the memory-mapped
        files. float16, bfloat16 and float64 become float32.

    Raises:
        CheckpointError: a file is damaged, not supported, or contradicts the index.
        FileNotFoundError: a file is missing.
    """
    path = Path(path)
    if path.suffix != ".json":
        return read_safetensors_file(path)
    shard_of = read_shard_names(path)
    tensors = {}
    for shard in list_shards(path):
        shard_tensors = read_safetensors_file(path.with_name(shard))
        for name, tensor in shard_tensors.items():
            if shard_of.get(name) != shard:
                raise CheckpointError(f"{path}: tensor {name} is in {shard}, but not according to this index")
            tensors[name] = tensor
    missing = shard_of.keys() - tensors.keys()
    if missing:
        raise CheckpointError(f"{path}: tensor {min(missing)} is not in {shard_of[min(missing)]}")
    return tensors


def read_shard_names(path):
    """Read the index of a sharded model -> {tensor name: file name of its shard}."""
    shard_of = read_json(path).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise CheckpointError(f"{path}: it has no weight_map; to download the model again, delete its folder")
    for shard in shard_of.values():
        if type(shard) is not str or not SHARD_NAME.fullmatch(shard):
            raise CheckpointError(f"{path}: {shard!r} is not the name of a safetensors file")
    if len(set(shard_of.values())) > MAX_SHARDS:
        raise CheckpointError(f"{path}: it names more than {MAX_SHARDS} files")
    return shard_of


def list_shards(path):
    """The file names of all shards in an index, sorted."""
    return sorted(set(read_shard_names(path).values()))


def read_safetensors_file(path):
    """Read all tensors of one file -> {tensor name: np.ndarray}."""
    entries, data = read_safetensors_header(path)
    with error_context(path):
        return {name: read_tensor(data, entry) for name, entry in entries.items()}


def read_safetensors_header(path):
    """Read the header of a file -> ({tensor name: entry}, the bytes of the tensors)."""
    data = memoryview(map_file(path))
    with error_context(path):
        entries, start = parse_safetensors_header(data)
    return entries, data[start:]


def parse_safetensors_header(data):
    """Parse the header of a file in bytes -> ({tensor name: entry}, position of the first tensor).

    An entry is as in dtype_conversion.py; its offset counts from the first tensor. The tensors must fill the
    rest of the file, without gaps or overlaps.
    """
    header_size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header_size > len(data) - 8:
        raise CheckpointError("the file is not in safetensors format, or truncated")
    if header_size > MAX_HEADER_SIZE:
        raise CheckpointError(f"the header has {header_size} bytes; the limit is {MAX_HEADER_SIZE}")
    with error_context("the header"):
        header = parse_json(str(data[8 : 8 + header_size], "utf-8"))
    header.pop("__metadata__", None)  # remarks of the program that wrote the file

    entries, end = {}, 0
    for name, record in header.items():
        with error_context(f"tensor {name}"):
            entries[name] = parse_safetensors_entry(record)
    for name, entry in sorted(entries.items(), key=lambda item: (item[1]["offset"], item[1]["size"])):
        if entry["offset"] != end:
            raise CheckpointError(f"tensor {name}: it starts at byte {entry['offset']}, not {end}")
        end += entry["size"]
    start = 8 + header_size
    if end != len(data) - start:
        raise CheckpointError(f"the tensors have {end} bytes, but the file has {len(data) - start} for them")
    return entries, start


def parse_safetensors_entry(record):
    """Parse the description of a tensor in the header -> entry."""
    if not isinstance(record, dict) or record.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError("its fields are not dtype, shape and data_offsets")
    dtype, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(dtype, str) or dtype not in SAFETENSORS_DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is not supported, only {', '.join(SAFETENSORS_DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise CheckpointError("shape and data_offsets must be lists of non-negative integers")
    if len(shape) > MAX_RANK:
        raise CheckpointError(f"the shape has more than {MAX_RANK} axes")
    if len(offsets) != 2:
        raise CheckpointError(f"data_offsets must be two numbers, not {len(offsets)}")
    begin, end = offsets
    size = end - begin
    entry = {"dtype": SAFETENSORS_DTYPES[dtype], "shape": tuple(shape), "offset": begin, "size": size}
    check_size(entry)
    return entry
