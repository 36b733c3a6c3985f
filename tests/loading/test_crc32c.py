"""crc32c gives the values of the standard and of the google_crc32c package."""

import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loading.crc32c import crc32c


@pytest.mark.parametrize(  # RFC 3720, appendix B.4
    ("data", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_examples_of_the_standard(data, crc):
    assert crc32c(data) == crc


@given(st.binary(max_size=1000))
def test_any_bytes(data):
    assert crc32c(data) == google_crc32c.value(data)


@given(size=st.integers(0, 5_000_000), seed=st.integers(0, 1000))
def test_any_length(size, seed):
    """Long data is divided in parallel lanes, in several rounds of fewer and fewer lanes."""
    data = np.random.default_rng(seed).bytes(size)
    assert crc32c(data) == google_crc32c.value(data)


def test_every_short_length():
    data = np.random.default_rng(0).bytes(3000)
    for size in range(len(data)):
        assert crc32c(data[:size]) == google_crc32c.value(data[:size])


def test_memoryview_and_bytearray():
    data = np.arange(1000, dtype=np.float32)
    for buffer in (memoryview(data.tobytes()), bytearray(data.tobytes())):
        assert crc32c(buffer) == google_crc32c.value(data.tobytes())
