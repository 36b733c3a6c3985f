"""Convert raw tensor bytes to NumPy arrays: float16, bfloat16 and float64 become float32.

Both checkpoint formats describe a tensor by an entry:

    {"dtype": a key of NUMPY_DTYPES, "shape": tuple, "offset": its first byte, "size": its number of bytes}
"""

import math

import numpy as np

from loading.untrusted_files import CheckpointError

MAX_RANK = 32  # axes; the limit of NumPy 1

# How NumPy reads the stored bytes. It has no bfloat16, so this dtype is read as 16-bit integers.
NUMPY_DTYPES = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "uint8": "|u1",
    "bool": "|b1",
}


def read_tensor(data, entry):
    """Read the tensor that `entry` describes from the bytes of a file -> a read-only array.

    float32, integers and bool are views of `data`; other floats are converted copies. The entry must have
    passed `check_size`. Raises CheckpointError if the data is truncated or the shape too large.
    """
    end = entry["offset"] + entry["size"]
    if end > len(data):
        raise CheckpointError(f"it ends at byte {end} of {len(data)}: the file is truncated")
    try:
        stored = np.ndarray(entry["shape"], NUMPY_DTYPES[entry["dtype"]], buffer=data, offset=entry["offset"])
    except (ValueError, OverflowError):
        raise CheckpointError(f"shape {list(entry['shape'])} is too large for NumPy") from None
    tensor = to_float32(stored, entry["dtype"])
    tensor.flags.writeable = False
    return tensor


def to_float32(stored, dtype):
    """Convert float16, bfloat16 and float64 to float32. Other dtypes stay as they are. [...] -> [...].

    A float64 that is too large for float32 becomes infinity.
    """
    if dtype == "bfloat16":  # the upper 16 bits of a float32
        return np.left_shift(stored, 16, dtype="<u4")[...].view("<f4")
    if dtype in ("float16", "float64"):
        with np.errstate(over="ignore", invalid="ignore"):  # invalid: signaling NaNs
            return stored.astype(np.float32)
    return stored


def check_size(entry):
    """Raise CheckpointError unless the size of an entry matches its shape and dtype."""
    size = math.prod(entry["shape"]) * np.dtype(NUMPY_DTYPES[entry["dtype"]]).itemsize
    if entry["size"] != size:
        tensor = f"{entry['dtype']} {list(entry['shape'])}"
        raise CheckpointError(f"a tensor {tensor} needs {size} bytes, but its size is {entry['size']}")
