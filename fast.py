"""The same results, but for rounding, sooner: work cut as a processor and its BLAS like it.

Read `matmul(x, w)` as x @ w, `by_rows(f, x)` as f(x), and `by_queries(attention, q, k, v, mask)` as
attention(q, k, v, mask). The sizes are for OpenBLAS, which NumPy's wheels bring, and caches of 1 or 2 MB.
Arrays that are not NumPy's go through uncut: JAX compiles, and cuts for itself.
"""

import numpy as np

N_ROWS = 16  # of each text or head, at a time, for a function that looks at rows by themselves
N_QUERIES = 64  # of each head, at a time, in attention
N_FEW = 24  # rows at most that are multiplied in other ways than many
MAX_SMALL = 10**6  # multiplications in a product for which OpenBLAS copies nothing (on AVX-512)


def matmul(x, w):
    """x @ w, for all the rows of x at once: [..., n_in] @ [n_in, n_out] -> [..., n_out].

    A single row is multiplied while the weights are read. For several OpenBLAS first copies all weights into
    an order of its own, which for a few rows takes far longer than the product. So those are multiplied one
    by one; or with the weights on the left, which copies them faster; or in pieces too small to be copied.
    """
    if (x.ndim == 2 and not 1 < len(x) <= N_FEW) or not isinstance(x, np.ndarray):
        return x @ w
    rows = x.reshape(-1, x.shape[-1])  # [..., n_in] -> [n_rows, n_in]
    (n_rows, n_in), n_out = rows.shape, w.shape[-1]
    n_piece = 32 if n_in % 32 == 0 and n_rows * 32 * n_out <= MAX_SMALL else 16
    is_few = 1 < n_rows <= N_FEW
    if is_few and n_rows <= 3:
        product = (rows[:, None] @ w)[:, 0]
    elif is_few and w.flags.f_contiguous:
        product = (w.T @ rows.T).T
    elif is_few and n_in % n_piece == 0 and n_rows * n_piece * n_out <= MAX_SMALL:
        pieces = rows.reshape(n_rows, -1, n_piece).swapaxes(0, 1)  # -> [n_pieces, n_rows, n_piece]
        product = np.sum(pieces @ w.reshape(-1, n_piece, n_out), axis=0)  # -> [n_rows, n_out]
    else:
        product = rows @ w
    return product.reshape(*x.shape[:-1], n_out)


def by_rows(function, x):
    """function(x), written over x, a few rows at a time: what it makes on the way then stays in the cache.

    x [..., n_rows, n], float32 -> [..., n_rows, n]. The function must look at each value, or row, by itself.
    """
    if x.ndim < 2 or x.shape[-2] <= N_ROWS or not isinstance(x, np.ndarray):
        return function(x)
    for n in range(0, x.shape[-2], N_ROWS):
        x[..., n : n + N_ROWS, :] = function(x[..., n : n + N_ROWS, :])
    return x


def by_queries(attention, q, k, v, mask):
    """attention(q, k, v, mask) where no query may see keys behind its own; some queries at a time.

    Each piece leaves out the keys that are behind all its queries: of a long text, nearly half of the work.
    q [..., n_q, head_dim], k and v [..., n_k, head_dim], mask [..., n_q, n_k] -> [..., n_q, head_dim].
    """
    n_q, n_k = q.shape[-2], k.shape[-2]
    if n_q <= N_QUERIES or not isinstance(q, np.ndarray):
        return attention(q, k, v, mask)
    pieces = []
    for n in range(0, n_q, N_QUERIES):
        rows = slice(n, n + N_QUERIES)
        keys = slice(n_k - n_q + n + N_QUERIES)
        pieces.append(attention(q[..., rows, :], k[..., keys, :], v[..., keys, :], mask[..., rows, keys]))
    return np.concatenate(pieces, axis=-2)
