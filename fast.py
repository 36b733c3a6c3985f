"""The same results, but for rounding, sooner: work cut as a processor and its BLAS like it.

Read `matmul(x, w)` as x @ w, `by_columns(gelu, x)` as gelu(x), and `by_queries(attention, q, k, v, mask)` as
attention(q, k, v, mask). The sizes are for OpenBLAS, which NumPy's wheels bring, and caches of 1 or 2 MB.
Arrays that are not NumPy's go through uncut: JAX compiles, and cuts for itself.
"""

import numpy as np

N_FEW = 24  # rows at most that are handled in other ways than more of them
N_MANY = 256  # rows at least with which OpenBLAS is as soon either way around
MAX_SMALL = 10**6  # multiplications in a product for which OpenBLAS copies nothing (on AVX-512)
N_VALUES = 2**15  # at a time, for a function that looks at each by itself
N_HEADS = 3  # at a time, in attention,
N_QUERIES = 128  # and of each of them


def matmul(x, w):
    """x @ w: [..., n_in] @ [n_in, n_out] -> [..., n_out], for all the rows of x at once; or for each head,
    [n_head, ..., n_in] @ [n_head, ..., n_in, n_out] -> [n_head, ..., n_out].

    A single row is multiplied while the weights are read. For several OpenBLAS first copies all weights into
    an order of its own, which for a few rows takes far longer than the product. So two or three are
    multiplied one by one, and a few in pieces too small to be copied, unless w is in Fortran order. Many are
    multiplied as they stand where n_out is n_embd, since the product is to be added to another in C order.
    """
    if not isinstance(x, np.ndarray) or (x.shape[-2] == 1 and x.ndim in (2, w.ndim)):
        return x @ w
    if w.ndim > 2:
        return column_by_column(x, w)
    rows = x.reshape(-1, x.shape[-1])  # [..., n_in] -> [n_rows, n_in]
    (n_rows, n_in), n_out = rows.shape, w.shape[-1]
    n_piece = 32 if n_in % 32 == 0 and n_rows * 32 * n_out <= MAX_SMALL else 16
    if 1 < n_rows <= 3:
        product = (rows[:, None] @ w)[:, 0]
    elif n_rows >= N_MANY and n_out <= n_in:
        product = rows @ w
    elif n_rows > N_FEW or w.flags.f_contiguous or n_in % n_piece or n_rows * n_piece * n_out > MAX_SMALL:
        product = column_by_column(rows, w)
    else:
        pieces = rows.reshape(n_rows, -1, n_piece).swapaxes(0, 1)  # -> [n_pieces, n_rows, n_piece]
        product = np.sum(pieces @ w.reshape(-1, n_piece, n_out), axis=0)  # -> [n_rows, n_out]
    return product.reshape(*x.shape[:-1], n_out)


def column_by_column(x, w):
    """x @ w, made as (w.T @ x.T).T, so that in memory the values of a column lie together.

    OpenBLAS is sooner that way for up to some 200 rows. Keys and values come out as `new_cache` has them, and
    the heads' outputs need no copying to stand side by side.
    """
    return (w.swapaxes(-1, -2) @ x.swapaxes(-1, -2)).swapaxes(-1, -2)


def by_columns(function, x):
    """function(x), written over x, some columns at a time: what it makes on the way then stays in the cache.

    x [..., n_columns], float32 -> [..., n_columns]. The function must look at each value by itself.
    """
    if x.size <= N_VALUES or not isinstance(x, np.ndarray):
        return function(x)
    columns = x.swapaxes(0, -1)  # [n_columns, ...]
    n_piece = max(1, N_VALUES // columns[0].size)
    for n in range(0, len(columns), n_piece):
        columns[n : n + n_piece] = function(columns[n : n + n_piece])
    return x


def by_queries(attention, q, k, v, mask):
    """attention(q, k, v, mask) where no query may see keys behind its own; some heads and queries at a time.

    Each piece leaves out the keys that are behind all its queries: of a long text, nearly half of the work.
    q [n_head, ..., n_q, head_dim], k and v [n_head, ..., n_k, head_dim], mask [..., n_q, n_k] -> as q.
    """
    n_q, n_k = q.shape[-2], k.shape[-2]
    if n_q <= N_FEW or not isinstance(q, np.ndarray):
        return attention(q, k, v, mask)
    x = np.empty_like(q)
    for head in range(0, len(q), N_HEADS):
        heads = slice(head, head + N_HEADS)
        for n in range(0, n_q, N_QUERIES):
            queries, keys = slice(n, n + N_QUERIES), slice(n_k - n_q + n + N_QUERIES)
            x[heads, ..., queries, :] = attention(
                q[heads, ..., queries, :],
                k[heads, ..., keys, :],
                v[heads, ..., keys, :],
                mask[..., queries, keys],
            )
    return x
