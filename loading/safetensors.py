"""Read safetensors, Hugging Face's format for weights: files to named NumPy arrays.

A file starts with a JSON header that describes its tensors:

    size of the header (8 bytes) | header: {name: {"dtype", "shape", "data_offsets"}} | bytes of the tensors

Format: the README of safetensors, section "Format".
"""

from loading.dtype_conversion import MAX_RANK, check_size, read_tensor
from loading.untrusted_files import CheckpointError, error_context, map_file, parse_json

MAX_HEADER_SIZE = 2**20  # bytes; GPT-2 1558M needs a tenth of it

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
    """Read all tensors of a file. The format has no checksums.

    Returns:
        {tensor name: np.ndarray}, read-only. float32, integers and bool are views of the memory-mapped
        file. float16, bfloat16 and float64 become float32.

    Raises:
        CheckpointError: the file is damaged or not supported.
        FileNotFoundError: the file is missing.
    """
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
