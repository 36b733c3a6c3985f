"""Put each weight into the memory order that makes its product fastest, with a cached file on disk.

For one token, the time of x @ w, [n_in] @ [n_in, n_out], is the time to read w. OpenBLAS reads w fastest

    in C order (rows of n_out values, as in checkpoints)    if n_in < n_out
    in Fortran order (columns of n_in values)               if n_in >= n_out

For x @ wte.T, [n_embd] @ [n_embd, n_vocab], a checkpoint has the slow order, too. Transposing these weights
takes longer than all other work at startup. So it happens once: a file beside the checkpoint, with the ending
.ordered, stores all weights in their fast order. Later starts memory-map this file instead of the checkpoint,
and all processes share its pages. The file has all weights, because mapping both files would also read the
unused weights between the used ones.

Weights that are put into order are also checked: NaN or infinity would make every text nonsense.
"""

import os
import shutil
import tempfile
from pathlib import Path
from warnings import warn

import numpy as np

from loading.untrusted_files import CheckpointError, map_file

MIN_SIZE = 2**26  # bytes; smaller models are transposed in memory at each start, in less than 0.1 s


def order_weights(params, weight_paths):
    """Replace the arrays in `params` by equal ones in their fast memory order, read-only.

    Args:
        params: as `gpt2` takes them; float32.
        weight_paths: the files that contain the weights. The .ordered file is beside the first of them.

    Raises:
        CheckpointError: a weight is not a finite number.
    """
    places = list(find_arrays(params))
    arrays = transposed(places)
    if sum(array.nbytes for array in arrays) >= MIN_SIZE and not is_in_hub_cache(weight_paths[0]):
        arrays = load_ordered(params, arrays, weight_paths)
    else:
        check_finite(params, weight_paths[0])
    for (tree, name, is_transposed), array in zip(places, arrays, strict=True):
        # Copies arrays that are in the wrong order, or not aligned to 4 bytes, as in some safetensors files.
        ordered = np.require(array, requirements=["C", "ALIGNED"])
        ordered.flags.writeable = False
        tree[name] = ordered.T if is_transposed else ordered


def is_in_hub_cache(path):
    """Whether a file is in the cache of the hub's own tools, models--OWNER--NAME/snapshots/COMMIT/FILE.

    Nothing is written there. So a large model is transposed in memory at each start.
    """
    snapshots = path.absolute().parent.parent
    return snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--")


def check_finite(params, path):
    """Raise CheckpointError if a weight is NaN or infinite."""
    for tree, name, _ in find_arrays(params):
        if not np.isfinite(tree[name]).all():
            raise CheckpointError(f"{path}: {name} {list(tree[name].shape)} has NaN or infinite values")


def find_arrays(tree):
    """Walk nested dicts and lists: yield (dict, name of the array in it, whether to transpose it)."""
    for name, value in enumerate(tree) if isinstance(tree, list) else tree.items():
        if isinstance(value, np.ndarray):
            yield tree, name, name in ("w", "wte", "lm_head") and value.shape[0] >= value.shape[1]
        elif isinstance(value, (dict, list)):
            yield from find_arrays(value)


def transposed(places):
    """The arrays at the places from `find_arrays`, some of them transposed. In C order they are fastest."""
    return [tree[name].T if is_transposed else tree[name] for tree, name, is_transposed in places]


def load_ordered(params, arrays, weight_paths):
    """Map the .ordered file -> equal arrays, each in C order. Writes the file if it is missing or outdated.

    If the file cannot be written, warns and returns `arrays`, the arrays of `params`.
    """
    path, mtime_ns = ordered_file(weight_paths)
    try:
        ordered = read_ordered(path, arrays, mtime_ns)
        if ordered is None:
            check_finite(params, weight_paths[0])
            write_ordered(arrays, path, mtime_ns)
            ordered = read_ordered(path, arrays, mtime_ns)
        if ordered is None:
            raise OSError("cannot set its modification time")
        return ordered
    except OSError as error:
        warn(f"{path}: {error.strerror or error}; without this file, every start is slower", stacklevel=4)
        return arrays


def check_ordered_file(params, weight_paths):
    """Raise CheckpointError if there is an .ordered file for these params, but with other values."""
    arrays = transposed(find_arrays(params))
    path, mtime_ns = ordered_file(weight_paths)
    for array, ordered in zip(arrays, read_ordered(path, arrays, mtime_ns) or arrays, strict=True):
        if not np.array_equal(array, ordered):
            raise CheckpointError(f"{path}: it differs from the weights; delete it, it will be rewritten")


def ordered_file(weight_paths):
    """The path of the .ordered file, and its required modification time: that of the newest weights."""
    path = weight_paths[0]
    return path.with_name(f"{path.name}.ordered"), max(path.stat().st_mtime_ns for path in weight_paths)


def read_ordered(path, arrays, mtime_ns):
    """Map the .ordered file -> arrays of the same shapes; None if it is missing or belongs to other weights.

    To start fast, this compares only the size, the modification time, all arrays with one axis, and the first
    row of the others.
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


def write_ordered(arrays, path, mtime_ns):
    """Write the arrays in C order, in sequence. The file gets its name once it is complete."""
    from tqdm import tqdm  # imported on use, to keep the start fast

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
            shutil.copymode(path.with_suffix(""), part)  # the permissions of the weights
            os.utime(part, ns=(mtime_ns, mtime_ns))
            part.replace(path)
        finally:
            file.close()
            part.unlink(missing_ok=True)
