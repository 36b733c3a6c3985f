"""Read a LevelDB table: sorted keys and values, in blocks with checksums.

The footer points to the index block, and the index block points to the data blocks:

    data block | ... | data block | metaindex block (empty) | index block | footer
        ^                  ^                                      ^            |
        |                  +---------- one entry per block -------+------------+

Format: LevelDB's doc/table_format.md.
"""

from loading.crc32c import masked_crc32c
from loading.protobuf import read_slice, read_varint
from loading.untrusted_files import CheckpointError

FOOTER_SIZE = 48
TABLE_MAGIC = 0xDB4775248B80FB57
MAX_KEY_SIZE = 200  # bytes


def read_table(table):
    """Read all records of a table in bytes -> {key as str: value as bytes}. Raises CheckpointError."""
    if len(table) < FOOTER_SIZE:
        raise CheckpointError(f"{len(table)} bytes are too few for a checkpoint index")
    blocks, footer = table[:-FOOTER_SIZE], table[-FOOTER_SIZE:]
    if int.from_bytes(footer[40:], "little") != TABLE_MAGIC:
        raise CheckpointError("no magic number at the end: the file is not a checkpoint index, or truncated")
    metaindex_handle, position = read_handle(footer[:40], 0)
    index_handle, position = read_handle(footer[:40], position)
    if any(footer[position:40]):
        raise CheckpointError("the footer is damaged")
    if list(block_records(read_block(blocks, metaindex_handle))):
        raise CheckpointError("the metaindex block is not empty")

    records = {}
    last_key, last_end = None, 0
    for _, handle_bytes in block_records(read_block(blocks, index_handle)):
        (offset, size), position = read_handle(handle_bytes, 0)
        if position != len(handle_bytes) or offset < last_end:
            raise CheckpointError("the index block is damaged")
        last_end = offset + size
        for key, value in block_records(read_block(blocks, (offset, size))):
            if last_key is not None and key <= last_key:
                raise CheckpointError(f"key {key!r} is out of order")
            last_key = key
            try:
                records[key.decode("utf-8")] = value
            except UnicodeDecodeError:
                raise CheckpointError(f"key {key!r} is not UTF-8") from None
    return records


def read_block(blocks, handle):
    """Read the block at handle = (offset, size), and verify the checksum that follows it -> bytes."""
    offset, size = handle
    contents, position = read_slice(blocks, offset, size)
    compression, position = read_slice(blocks, position, 1)
    stored_crc, position = read_slice(blocks, position, 4)
    if masked_crc32c(contents + compression) != int.from_bytes(stored_crc, "little"):
        raise CheckpointError(f"the block at byte {offset} does not match its checksum: the file is damaged")
    if compression != b"\0":
        raise CheckpointError("compressed tables are not supported; TensorFlow writes uncompressed ones")
    return contents


def block_records(block):
    """Yield the (key, value) pairs of a block. A record omits the prefix shared with the previous key."""
    restart_count, _ = read_slice(block, max(0, len(block) - 4), 4)
    end = len(block) - 4 - 4 * int.from_bytes(restart_count, "little")
    if end < 0:
        raise CheckpointError("a block is too small for its restart points")
    records, position, key = block[:end], 0, b""
    while position < end:
        n_shared, position = read_varint(records, position)
        n_own, position = read_varint(records, position)
        n_value, position = read_varint(records, position)
        if n_shared > len(key):
            raise CheckpointError("a key shares more bytes than the previous key has")
        # Without a limit, many records could share one long key: a small file would fill the memory.
        if n_shared + n_own > MAX_KEY_SIZE:
            raise CheckpointError(f"a key has more than {MAX_KEY_SIZE} bytes")
        own, position = read_slice(records, position, n_own)
        value, position = read_slice(records, position, n_value)
        key = key[:n_shared] + own
        yield key, value


def read_handle(data, position):
    """Read the place of a block -> ((offset, size), next position)."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position
