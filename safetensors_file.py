"""safetensors, Hugging Face's format for weights: bytes on disk to named NumPy arrays, by mapping the files.

A file is one piece with a JSON object as table of contents; a large model is in several, with a list of them:

    length of the header (8 bytes) | header: {name: {"dtype", "shape", "data_offsets"}} | the tensors' bytes

Format: safetensors' README.md, "Format".
"""

import re
from pathlib import Path

from checkpoint import MAX_RANK, check_size, map_file, read_tensor
from files import CheckpointError, faults_of, parse_json, read_json

MAX_SHARDS = 1000
MAX_HEADER_SIZE = 2**20  # bytes: ten times what GPT-2 1558M needs

# safetensors' abbreviation of a type -> a key of checkpoint.DTYPES.
DTYPES = {
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
    """Read all tensors of a model in safetensors format.

    Args:
        path: the file; or, where the model is in several, their index, "model.safetensors.index.json".

    Returns:
        {name: np.ndarray}, as `checkpoint.read_tf_checkpoint` does. The format has no checksums.

    Raises: as that does.
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
                raise CheckpointError(f"{path}: it does not say that tensor {name} is in {shard}")
            tensors[name] = tensor
    missing = shard_of.keys() - tensors.keys()
    if missing:
        raise CheckpointError(f"{path}: tensor {min(missing)} is not in {shard_of[min(missing)]}")
    return tensors


def read_shard_names(path):
    """Which file each tensor is in, from the index of a model in several files -> {name: file}."""
    shard_of = read_json(path).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise CheckpointError(f"{path}: there is no weight_map; where it was downloaded, delete the folder")
    for shard in shard_of.values():  # a name in the same folder, and nothing else
        if type(shard) is not str or not re.fullmatch(r"[\w-][\w.-]{0,200}\.safetensors", shard, re.ASCII):
            raise CheckpointError(f"{path}: {shard!r} is not the name of a safetensors file")
    if len(set(shard_of.values())) > MAX_SHARDS:
        raise CheckpointError(f"{path}: it names more than {MAX_SHARDS} files")
    return shard_of


def list_shards(path):
    """The files that an index names, each once."""
    return sorted(set(read_shard_names(path).values()))


def read_safetensors_file(path):
    entries, data = read_safetensors_header(path)
    with faults_of(path):
        return {name: read_tensor(data, entry) for name, entry in entries.items()}


def read_safetensors_header(path):
    """What a file has in it -> {name: entry}, the bytes that the entries' offsets are in."""
    data = memoryview(map_file(path))
    with faults_of(path):
        entries, start = parse_safetensors_header(data)
    return entries, data[start:]


# The header.


def parse_safetensors_header(data):
    """Read the header at the beginning of a file -> {name: entry}, where the tensors' bytes begin.

    The entries are as those of `checkpoint.parse_index`, with offsets from there on. The tensors must fill
    the rest of the file, without a gap.
    """
    header_size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header_size > len(data) - 8:
        raise CheckpointError("it is no safetensors file, or cut short")
    if header_size > MAX_HEADER_SIZE:
        raise CheckpointError(f"its header has {header_size} bytes, more than {MAX_HEADER_SIZE}")
    with faults_of("its header"):
        header = parse_json(str(data[8 : 8 + header_size], "utf-8"))
    header.pop("__metadata__", None)  # remarks of the program that wrote it

    entries, end = {}, 0
    for name, record in header.items():
        with faults_of(f"tensor {name}"):
            entries[name] = parse_safetensors_entry(record)
    for name, entry in sorted(entries.items(), key=lambda item: (item[1]["offset"], item[1]["size"])):
        if entry["offset"] != end:
            raise CheckpointError(f"tensor {name}: its bytes do not begin where those before end")
        end += entry["size"]
    start = 8 + header_size
    if end != len(data) - start:
        raise CheckpointError(f"its tensors have {end} bytes, but the file {len(data) - start} for them")
    return entries, start


def parse_safetensors_entry(record):
    """One tensor's object in the header -> its entry."""
    if not isinstance(record, dict) or record.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError("it does not have a dtype, a shape and data_offsets")
    dtype, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"its dtype {dtype!r} is none of {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise CheckpointError("its shape and data_offsets are not lists of whole numbers")
    if len(shape) > MAX_RANK or len(offsets) != 2:
        raise CheckpointError(f"its shape has more than {MAX_RANK} axes, or its data_offsets are not two")
    begin, end = offsets
    entry = {"dtype": DTYPES[dtype], "shape": tuple(shape), "offset": begin, "size": end - begin}
    check_size(entry)
    return entry
