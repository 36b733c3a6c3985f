"""What TensorFlow's index file is made of: a LevelDB table, whose values are protocol buffers.

The table is a row of blocks and a footer; each level says where the next one lies:

    data block | ... | data block | metaindex block (empty) | index block | footer
        ^                  ^                                      ^            |
        |                  +---------- one entry a block ---------+------------+

Formats: LevelDB's doc/table_format.md; the protocol buffers' encoding guide.
"""

from crc32c import masked_crc32c
from files import CheckpointError

FOOTER_SIZE = 48
TABLE_MAGIC = 0xDB4775248B80FB57
MAX_KEY_SIZE = 200  # bytes

# How a field of a protocol buffer is stored: its "wire type".
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def table_records(table):
    """All keys and values of a LevelDB table: its bytes -> {key as str: value as bytes}."""
    if len(table) < FOOTER_SIZE:
        raise CheckpointError(f"{len(table)} bytes are too few for a checkpoint's index")
    blocks, footer = table[:-FOOTER_SIZE], table[-FOOTER_SIZE:]
    if int.from_bytes(footer[40:], "little") != TABLE_MAGIC:
        raise CheckpointError("it does not end as a checkpoint's index does: not an index, or cut short")
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
    """The contents of the block at `handle` = (offset, size), checked against the crc32c that follows it."""
    offset, size = handle
    contents, position = read_slice(blocks, offset, size)
    compression, position = read_slice(blocks, position, 1)
    stored_crc, position = read_slice(blocks, position, 4)
    if masked_crc32c(contents + compression) != int.from_bytes(stored_crc, "little"):
        raise CheckpointError(f"the block at byte {offset} does not match its checksum: the file is damaged")
    if compression != b"\0":
        raise CheckpointError("it is compressed, which is not supported (TensorFlow's own are not)")
    return contents


def block_records(block):
    """Yield the (key, value) pairs of a block. A key is stored without the prefix it shares with the last."""
    restart_count, _ = read_slice(block, max(0, len(block) - 4), 4)
    end = len(block) - 4 - 4 * int.from_bytes(restart_count, "little")
    if end < 0:
        raise CheckpointError("a block's restart points do not fit in it")
    records, position, key = block[:end], 0, b""
    while position < end:
        n_shared, position = read_varint(records, position)
        n_own, position = read_varint(records, position)
        n_value, position = read_varint(records, position)
        if n_shared > len(key):
            raise CheckpointError("a key shares more with the one before it than that one has")
        # A long one, stored once and shared by all keys, would grow a thousandfold.
        if n_shared + n_own > MAX_KEY_SIZE:
            raise CheckpointError(f"a key has more than {MAX_KEY_SIZE} bytes")
        own, position = read_slice(records, position, n_own)
        value, position = read_slice(records, position, n_value)
        key = key[:n_shared] + own
        yield key, value


def read_handle(data, position):
    """Where a block lies -> ((offset, size), next position)."""
    offset, position = read_varint(data, position)
    size, position = read_varint(data, position)
    return (offset, size), position


# Protocol buffers.


def parse_proto(message, schema, repeated=()):
    """Decode a protocol buffer message: its bytes -> {field name: value}, of the fields that `schema` names.

    A number that is not there is 0, and bytes are b"". Of a field that comes twice the later one counts, but
    the values of a `repeated` field make a list.
    """
    fields = {name: b"" if wire_type == BYTES else 0 for name, wire_type in schema.values()}
    fields.update((name, []) for name in repeated)
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        wire_type = tag & 7
        name, expected = schema.get(tag >> 3, (None, wire_type))
        if wire_type != expected:
            raise CheckpointError(f"the field {name} is not of its type")
        if wire_type == VARINT:
            value, position = read_varint(message, position)
        elif wire_type == BYTES:
            size, position = read_varint(message, position)
            value, position = read_slice(message, position, size)
        elif wire_type in (FIXED32, FIXED64):
            value, position = read_slice(message, position, 4 if wire_type == FIXED32 else 8)
        else:
            raise CheckpointError(f"a field has the unknown wire type {wire_type}")
        if name in repeated:
            fields[name].append(value)
        elif name is not None:
            fields[name] = value
    return fields


# Bytes.


def read_varint(data, position):
    """A number, 7 bits a byte, lowest first; only its last byte lacks the high bit -> (it, next position)."""
    number = 0
    for shift in range(0, 64, 7):
        byte, position = read_slice(data, position, 1)
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    if byte[0] >= 0x80 or (byte[0] == 0 and shift > 0):
        raise CheckpointError("a number has more bytes than it needs or may have")
    return number, position


def read_slice(data, position, size):
    """data[position : position + size], all of it -> (those bytes, next position)."""
    end = position + size
    if end > len(data):
        raise CheckpointError(f"it is damaged: bytes {position} to {end} of {len(data)} are wanted")
    return data[position:end], end
