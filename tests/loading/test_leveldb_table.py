"""Every broken LevelDB table is rejected. For tables that TensorFlow wrote: test_tf_checkpoint.py."""

import numpy as np
import pytest
from support.bundle_writer import TABLE_MAGIC, block, message, varint, with_trailer, write_bundle

from loading.tf_checkpoint import parse_index, read_tf_checkpoint
from loading.untrusted_files import CheckpointError
from utils import DEMO_DIR

DEMO_INDEX = (DEMO_DIR / "model.ckpt.index").read_bytes()


def index_of(data_block, handle=None, compression=b"\0", metaindex=(), padding=b"", magic=None, times=1):
    """An index with one data block, given as bytes. The checksums are right, and one part is wrong."""
    contents = with_trailer(data_block, compression)
    meta_handle = varint(len(contents)) + varint(len(block(metaindex)))
    contents += with_trailer(block(metaindex))
    handle = handle or varint(0) + varint(len(data_block))
    index_block = block([(b"z" * n, handle) for n in range(1, times + 1)])
    footer = meta_handle + varint(len(contents)) + varint(len(index_block)) + padding
    contents += with_trailer(index_block)
    return contents + footer.ljust(40, b"\0") + (magic or TABLE_MAGIC).to_bytes(8, "little")


HEADER = (b"", message({1: 1}))
GOOD = block([HEADER])
BROKEN_TABLES = {
    "magic": index_of(GOOD, magic=1),
    "padding": index_of(GOOD, padding=b"\0\0\1"),
    "metaindex": index_of(GOOD, metaindex=[(b"filter", b"")]),
    "snappy": index_of(GOOD, compression=b"\1"),
    "handle past the end": index_of(GOOD, handle=varint(10**6) + varint(len(GOOD))),
    "handle of 70 bits": index_of(GOOD, handle=varint(2**70) + varint(len(GOOD))),
    "handle too long": index_of(GOOD, handle=varint(0) + varint(len(GOOD)) + b"\0"),
    "handle too short": index_of(GOOD, handle=varint(128)[:1]),
    "block too long": index_of(GOOD, handle=varint(0) + varint(len(GOOD) + 1)),
    "empty block": index_of(b""),
    "no header": index_of(block([])),
    "restart points": index_of(GOOD[:-4] + varint(100).ljust(4, b"\0")),
    "shares bytes with no key": index_of(varint(1) + GOOD[1:]),
    "key past the end": index_of(GOOD[:1] + varint(100) + GOOD[2:]),
    "value past the end": index_of(GOOD[:2] + varint(100) + GOOD[3:]),
    "key twice": index_of(block([HEADER, HEADER])),
    "keys out of order": index_of(block([HEADER, (b"b", b""), (b"a", b"")])),
    "key not UTF-8": index_of(block([HEADER, (b"\xff", b"")])),
    "empty file": b"",
    "zeros": bytes(1000),
    "a web page": b"<html>" * 100,
}


def test_the_unbroken_table_is_read():
    assert parse_index(index_of(GOOD)) == (1, {})


@pytest.mark.parametrize("table", BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_every_broken_table_is_rejected(tmp_path, table):
    (tmp_path / "x.index").write_bytes(table)
    with pytest.raises(CheckpointError, match=r"x\.index: "):
        read_tf_checkpoint(tmp_path / "x")


def test_every_changed_byte_is_detected():
    for position in range(len(DEMO_INDEX)):
        damaged = bytearray(DEMO_INDEX)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(CheckpointError):
            parse_index(bytes(damaged))


def test_every_truncation_is_detected():
    for size in range(len(DEMO_INDEX)):
        with pytest.raises(CheckpointError):
            parse_index(DEMO_INDEX[:size])


# Small malicious tables with right checksums.


def test_a_block_cannot_be_read_twice():
    """A small file with a thousand handles to one large block would take hours."""
    with pytest.raises(CheckpointError, match="the index block is damaged"):
        parse_index(index_of(block([]), times=2))


def test_long_keys_are_rejected(tmp_path):
    """Thousands of entries could share a key of a megabyte that is stored once."""
    write_bundle(tmp_path / "x", {"k" * 200: np.zeros(3, np.float32)})
    assert list(read_tf_checkpoint(tmp_path / "x")) == ["k" * 200]
    write_bundle(tmp_path / "x", {"k" * 201: np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match="a key has more than 200 bytes"):
        read_tf_checkpoint(tmp_path / "x")


def test_a_large_index_is_rejected(tmp_path):
    (tmp_path / "x.index").write_bytes(bytes(2**18 + 1))
    with pytest.raises(CheckpointError, match=r"x\.index: the file exceeds its limit of 262144 bytes"):
        read_tf_checkpoint(tmp_path / "x")
