"""Detect any array that is not float32 inside a computation."""

import numpy as np


class Float32(np.ndarray):
    """An array that fails as soon as an array computed from it is neither float32 nor bool (a mask)."""

    def __array_finalize__(self, obj):
        assert self.dtype in (np.float32, np.bool_), self.dtype


def guarded(tree):
    """The same parameters, with every array guarded; everything else passes through."""
    if isinstance(tree, dict):
        return {name: guarded(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [guarded(value) for value in tree]
    return tree.view(Float32) if isinstance(tree, np.ndarray) else tree
