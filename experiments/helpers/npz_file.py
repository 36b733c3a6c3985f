"""Read untrusted .npz files."""

import numpy as np

from loading.untrusted_files import CheckpointError


def read_npz(path):
    """Read all arrays of a file: {name: array}. Raises CheckpointError if it is damaged or has pickles."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, MemoryError):
        raise
    except Exception:  # np.load can raise any exception on a damaged file
        raise CheckpointError(f"{path}: not a file of plain arrays from np.savez") from None
