"""The order in memory in which each weight is read fastest, and a file that has them in it.

For one token a product x @ w, [n_in] @ [n_in, n_out], does little but read w. OpenBLAS reads it fastest with
n_out values in a row (C order, as in checkpoints), unless n_in is as large or larger: then with n_in in a row
(Fortran order). In the product with wte.T, [n_embd, n_vocab], a checkpoint has n_embd values in a row, which
is the wrong order too. To turn these weights around takes longer than to start, so it is done once, into a
file beside the checkpoint, which is then mapped into memory instead, and shared by all processes. It has the
other weights too: to map both would bring in, along with them, their neighbours that are not needed.
"""

import os
import shutil
import tempfile
from pathlib import Path
from warnings import warn

import numpy as np

from checkpoint import map_file
from files import CheckpointError

MIN_SIZE = 2**26  # bytes; turning less around takes less than 0.1 s, and is done anew each time


def put_in_fastest_order(params, weight_paths):
    """Replace the weights that `params` has by the same ones in the order in which they are read fastest.

    Args:
        params: as `gpt2` takes them; float32.
        weight_paths: the files they are from. The one in order is beside the first of them.
    """
    places = list(find_arrays(params))
    arrays = turned(places)
    if sum(array.nbytes for array in arrays) >= MIN_SIZE:
        arrays = from_disk(arrays, weight_paths)
    for (tree, name, is_turned), array in zip(places, arrays, strict=True):
        # A copy of those that are not in order yet, or, as in some safetensors, not at a multiple of 4 bytes.
        ordered = np.require(array, requirements=["C", "ALIGNED"])
        ordered.flags.writeable = False
        tree[name] = ordered.T if is_turned else ordered


def find_arrays(tree):
    """All arrays in nested dicts and lists: yield (the dict, the array's name in it, whether to turn it)."""
    for name, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        if isinstance(value, np.ndarray):
            yield tree, name, name in ("w", "wte", "lm_head") and value.shape[0] >= value.shape[1]
        elif isinstance(value, (dict, list)):
            yield from find_arrays(value)


def turned(places):
    """The arrays at the places that `find_arrays` yields, those to be turned transposed."""
    return [tree[name].T if is_turned else tree[name] for tree, name, is_turned in places]


def from_disk(arrays, weight_paths):
    """The same arrays, each in C order, from the file that has them one after the other.

    The file is made where it is missing, or not of the weights' age; where it cannot be, `arrays` are
    returned as they are.
    """
    path, mtime_ns = ordered_copy(weight_paths)
    try:
        ordered = read_in_order(path, arrays, mtime_ns)
        if ordered is None:
            write_in_order(arrays, path, mtime_ns)
            ordered = read_in_order(path, arrays, mtime_ns)
        if ordered is None:
            raise OSError("its time cannot be set")
        return ordered
    except OSError as error:
        warn(f"{path}: {error.strerror or error}; without that file each start takes longer", stacklevel=4)
        return arrays


def check_ordered_copy(params, weight_paths):
    """CheckpointError if there is a file in order that would be used for these params but is not the same."""
    arrays = turned(find_arrays(params))
    path, mtime_ns = ordered_copy(weight_paths)
    for array, ordered in zip(arrays, read_in_order(path, arrays, mtime_ns) or arrays, strict=True):
        if not np.array_equal(array, ordered):
            raise CheckpointError(f"{path}: it is not what the weights are; delete it, it will be made anew")


def ordered_copy(weight_paths):
    """The path of the file in order, and the time it must have: that of the newest of the weights."""
    path = weight_paths[0]
    return path.with_name(f"{path.name}.ordered"), max(path.stat().st_mtime_ns for path in weight_paths)


def read_in_order(path, arrays, mtime_ns):
    """Map the file -> arrays of those shapes; None if it is missing, or from other weights.

    That is known by its time, and by the arrays with one axis and the first rows of the others, which are
    small enough to look at.
    """
    size = sum(array.nbytes for array in arrays)
    if not path.exists() or (path.stat().st_size, path.stat().st_mtime_ns) != (size, mtime_ns):
        return None
    ends = np.cumsum([array.size for array in arrays])
    pieces = np.split(np.frombuffer(map_file(path), np.float32), ends[:-1])
    ordered = [piece.reshape(array.shape) for piece, array in zip(pieces, arrays, strict=True)]
    for old, new in zip(arrays, ordered, strict=True):
        if not np.array_equal(*((old, new) if old.ndim == 1 else (old[0], new[0]))):
            return None
    return ordered


def write_in_order(arrays, path, mtime_ns):
    """Write the arrays to a file of this age, under a name of its own until it is complete."""
    from tqdm import tqdm  # here, where it slows no other start

    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f"{path.name}.", suffix=".part", delete=False
    ) as file:
        part = Path(file.name)
        try:
            for array in tqdm(arrays, "Ordering weights", unit="array", leave=False, delay=1, disable=None):
                file.write(np.ascontiguousarray(array))
            file.flush()
            os.fsync(file.fileno())
            file.close()
            shutil.copymode(path.with_suffix(""), part)  # that of the weights
            os.utime(part, ns=(mtime_ns, mtime_ns))
            part.replace(path)
        finally:
            file.close()
            part.unlink(missing_ok=True)
