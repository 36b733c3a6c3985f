"""However the work is cut, the results are those of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fast
from fast import by_columns, by_queries, matmul
from gpt2 import attention, gelu

ORDERS = {"C": np.ascontiguousarray, "Fortran": np.asfortranarray}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(64, 48), (192, 64), (8, 5), (1, 1), (48, 2000), (64, 70000)])
@pytest.mark.parametrize("n_rows", [*range(1, 18), fast.N_FEW, fast.N_FEW + 1, 100, fast.N_MANY])
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


@pytest.mark.parametrize("n_rows", [1, 2, 100])
def test_heads_are_multiplied_each_with_its_own(n_rows):
    x, w = normal(3, 2, n_rows, 64), normal(3, 2, 64, 48, seed=1)
    np.testing.assert_allclose(matmul(x, w), x @ w, atol=1e-4)


@given(
    shape=st.sampled_from([(1, 40000), (50000, 1), (100, 3072), (3, 50, 768), (2, 3, 100, 100)]),
    transposed=st.booleans(),
    step=st.integers(1, 2),
)
def test_a_function_of_values_is_that_of_the_whole(shape, transposed, step):
    """Written over the array, whatever the order of its values in memory."""
    x = normal(*shape[:-1], step * shape[-1])[..., ::step]
    x = x.T if transposed else x
    expected = gelu(x)
    assert by_columns(gelu, x) is x
    np.testing.assert_allclose(x, expected, atol=1e-6)


@given(
    n_q=st.integers(1, 3 * fast.N_QUERIES + 2),
    n_past=st.integers(0, 70),
    batch=st.sampled_from([(2,), (5, 2)]),
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
        work.append(q.shape[-2] * k.shape[-2])
        return q

    q = np.zeros((1, n_q, 1), np.float32)
    by_queries(counted, q, q, q, np.zeros((n_q, n_q), np.float32))
    assert sum(work) <= max(fast.N_FEW**2, n_q * (n_q + fast.N_QUERIES) / 2 + 1)
