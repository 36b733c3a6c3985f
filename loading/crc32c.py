"""The checksum crc32c (Castagnoli) in NumPy, at hundreds of megabytes per second.

Read the bits of the data as the coefficients of a polynomial over the field of two elements. The checksum is
the remainder of a polynomial division (RFC 3720, appendix B.4). Remainders are linear. So this code cuts the
data into lanes of equal length, divides all lanes in parallel, and combines their remainders.

"State" is the remainder so far, a 32-bit integer.
"""

import functools

import numpy as np

POLYNOMIAL = np.uint32(0x82F63B78)  # lowest bit first


def crc32c(data):
    """The checksum of `data`: bytes, or any other buffer -> int."""
    data, state = np.frombuffer(data, np.uint8), 0xFFFFFFFF
    while len(data) >= 256:  # each round leaves a shorter rest
        n_lanes = 2 ** ((len(data).bit_length() + 4) // 2)
        n_words = len(data) // (4 * n_lanes)
        lanes, data = np.split(data, [4 * n_words * n_lanes])
        state = divide_lanes(lanes.view("<u4").reshape(n_lanes, n_words), state)
    for byte in data.tolist():
        state = append_zeros(state ^ byte, 1)
    return int(state) ^ 0xFFFFFFFF


def masked_crc32c(data):
    """The checksum as LevelDB and TensorFlow store it: rotated, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def divide_lanes(words, state):
    """The state after all lanes in sequence. words [n_lanes, n_words]; n_lanes is a power of two."""
    low, high = tables_of_four_bytes()
    states = np.zeros(len(words), np.uint32)  # [n_lanes]
    states[0] = state
    for column in words.T:  # [n_lanes]
        states ^= column
        states = low.take(states & 0xFFFF) ^ high.take(states >> 16)
    n_bytes = 4 * words.shape[1]
    while len(states) > 1:  # combine neighbors into lanes of twice the length: [n] -> [n / 2]
        states = multiply(append_zeros_matrix(n_bytes), states[::2]) ^ states[1::2]
        n_bytes *= 2
    return int(states[0])


def append_zeros(state, n_bytes):
    """The state after n_bytes zero bytes. int, or array of uint32 -> the same."""
    for _ in range(n_bytes):
        state = state >> 8 ^ table_of_bytes()[state & 0xFF]
    return state


@functools.cache
def table_of_bytes():
    """The state after one zero byte, for each value of the lowest byte. [256]"""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> 1 ^ (table & 1) * POLYNOMIAL
    return table


@functools.cache
def tables_of_four_bytes():
    """The state after four zero bytes, for each value of its lower and of its upper half. [65536] each"""
    halves = np.arange(2**16, dtype=np.uint32)
    return append_zeros(halves, 4), append_zeros(halves << 16, 4)


@functools.cache
def append_zeros_matrix(n_bytes):
    """The bit matrix that appends n_bytes zero bytes to a state, as its 32 columns. [32]"""
    if n_bytes == 1:
        return append_zeros(np.uint32(1) << np.arange(32, dtype=np.uint32), 1)
    half = append_zeros_matrix(n_bytes // 2)
    whole = multiply(half, half)
    return multiply(append_zeros_matrix(1), whole) if n_bytes % 2 else whole


def multiply(matrix, states):
    """Multiply a bit matrix, given as its columns, by each state. [32], [n] -> [n]"""
    bits = states[:, None] >> np.arange(32, dtype=np.uint32) & 1  # [n] -> [n, 32]
    return np.bitwise_xor.reduce(bits * matrix, axis=1)  # [n, 32] -> [n]
