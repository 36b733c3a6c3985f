"""The order in memory in which a weight is read fastest, and a file with those that are stored in the other.

For one token a product x @ w, [n_in] @ [n_in, n_out], does little but read w. OpenBLAS reads it fastest with
n_out values in a row (C order, as in checkpoints), unless n_in is as large or larger: then with n_in in a row
(Fortran order). In the product with wte.T, [n_embd, n_vocab], a checkpoint has n_embd values in a row, which
is the wrong order too. To turn these weights around takes longer than to start, so it is done once, into a
file beside the checkpoint, which is then mapped into memory as that is, and shared by all processes.
"""

import contextlib
import os
from pathlib import Path
from warnings import warn

import numpy as np

from checkpoint import map_file

MIN_SIZE = 2**26  # bytes; turning less around takes less than 0.1 s, and is done anew each time


def turn_around(params, checkpoint_path):
    """Put the weights for which it is faster into Fortran order, in place of those that `params` has.

    Args:
        params: as `gpt2` takes them; float32.
        checkpoint_path: the file with the data they are from. The copy, some 60 % of its size, is beside it.
    """
    places = [(params, "wte")]
    for block in params["blocks"]:
        places += [(block["attn"]["c_proj"], "w"), (block["mlp"]["c_proj"], "w")]
    weights = [tree[name] for tree, name in places]
    flat = None
    if sum(weight.nbytes for weight in weights) >= MIN_SIZE:
        flat = copy_on_disk(weights, Path(checkpoint_path))
    for tree, name in places:
        n_in, n_out = tree[name].shape
        if flat is None:
            turned = np.ascontiguousarray(tree[name].T)
            turned.flags.writeable = False
        else:
            turned, flat = flat[: n_in * n_out].reshape(n_out, n_in), flat[n_in * n_out :]
        tree[name] = turned.T


def copy_on_disk(weights, checkpoint_path):
    """All the weights one after the other, in Fortran order, from the file that has them -> float32 [n].

    The file is made where it is missing, or not of the checkpoint's age. None if it cannot be had.
    """
    path = checkpoint_path.with_name(f"{checkpoint_path.name}.turned")
    times = (checkpoint_path.stat().st_atime_ns, checkpoint_path.stat().st_mtime_ns)
    size = sum(weight.nbytes for weight in weights)
    try:
        if not path.exists() or (path.stat().st_mtime_ns, path.stat().st_size) != (times[1], size):
            write_turned(weights, path, times)
        return np.frombuffer(map_file(path), np.float32)
    except OSError as error:
        warn(f"{path}: {error.strerror}; without that file each start takes longer", stacklevel=4)
        return None


def write_turned(weights, path, times):
    """Write the weights to a file of this age, under a name of this process's own until it is complete."""
    from tqdm import tqdm  # here, where it slows no other start

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            for weight in tqdm(weights, "Ordering weights", leave=False, delay=1, disable=None):
                file.write(np.ascontiguousarray(weight.T))
            os.fsync(file.fileno())
        os.utime(part, ns=times)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
