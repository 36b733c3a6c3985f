"""However the work is cut, the results are those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fast
from fast import by_queries, by_rows, matmul
from gpt2 import attention, softmax

ORDERS = {"C": np.ascontiguousarray, "Fortran": np.asfortranarray}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(64, 48), (192, 64), (8, 5), (1, 1), (48, 2000), (64, 70000)])
@pytest.mark.parametrize("n_rows", [*range(1, 18), fast.N_FEW, fast.N_FEW + 1, 100])
def test_a_product_is_that_of_the_exact_numbers(order, shape, n_rows):
    x, w = normal(n_rows, shape[0]), ORDERS[order](normal(*shape, seed=1)[:, : 10**5 // n_rows])
    product = matmul(x, w)
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, x.astype(np.float64) @ w.astype(np.float64), atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch", [(1, 1), (2, 1), (8, 1), (3, 5), (2, 40), (2, 2, 2)])
def test_a_batch_is_the_products_of_its_rows(order, batch):
    x, w = normal(*batch, 64), ORDERS[order](normal(64, 48, seed=1))
    product = matmul(x, w)
    assert product.shape == (*batch, 48)
    np.testing.assert_allclose(product, x @ w, atol=1e-4)


def test_the_weights_are_left_as_they_are():
    w = normal(64, 48)
    w.flags.writeable = False
    x = normal(8, 64)
    before = x.copy()
    matmul(x, w)
    np.testing.assert_array_equal(x, before)


@given(st.integers(1, 70), st.integers(1, 20), st.sampled_from([(), (2,), (2, 3)]))
def test_a_function_of_rows_is_that_of_the_whole(n_rows, n, batch):
    x = normal(*batch, n_rows, n)
    expected = softmax(x)
    np.testing.assert_array_equal(by_rows(softmax, x), expected)


@given(
    n_q=st.integers(1, 3 * fast.N_QUERIES + 2),
    n_past=st.integers(0, 70),
    batch=st.sampled_from([(2,), (2, 3)]),
)
def test_attention_in_pieces_is_that_of_the_whole(n_q, n_past, batch):
    q, k, v = (
        normal(*batch, n_q, 8),
        normal(*batch, n_past + n_q, 8, seed=1),
        normal(*batch, n_past + n_q, 8, seed=2),
    )
    mask = np.float32(-1e10) * ~np.tri(n_q, n_past + n_q, n_past, dtype=bool)
    pieces = by_queries(attention, q, k, v, mask)
    np.testing.assert_allclose(pieces, attention(q, k, v, mask), atol=1e-5)


@pytest.mark.parametrize("n_q", [1, 2, fast.N_QUERIES, fast.N_QUERIES + 1, 1000])
def test_no_piece_sees_many_keys_in_vain(n_q):
    """The work, in pairs of a query and a key: a triangle, which is needed, and half a square a piece."""
    work = []

    def counted(q, k, v, mask):
        work.append(len(q) * len(k))
        return q

    q = np.zeros((n_q, 1), np.float32)
    by_queries(counted, q, q, q, np.zeros((n_q, n_q), np.float32))
    assert sum(work) <= n_q * (n_q + fast.N_QUERIES) / 2 + 1
