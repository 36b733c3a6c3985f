"""Make the C library keep freed memory, which speeds up the forward pass."""

import numpy as np


def keep_freed_memory():
    """Let glibc reuse the memory of NumPy's temporaries. Without effect on other C libraries.

    By default, glibc maps each array of more than 128 KB from the system, and unmaps it when it is freed. So
    every operation of the forward pass faults in its result page by page. When a program frees a mapped block
    of at most 32 MB, glibc stops mapping blocks up to that size. It then takes them from the heap, and the
    heap keeps their pages.
    """
    np.empty(31 * 2**20, np.uint8)  # allocated and freed at once, without touching a page
