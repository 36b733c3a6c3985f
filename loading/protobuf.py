"""Decode protocol buffers: a message in bytes to a dict of the fields that a schema names.

Format: https://protobuf.dev/programming-guides/encoding
"""

from loading.untrusted_files import CheckpointError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types: how the value of a field is stored


def parse_proto(message, schema, repeated=()):
    """Decode a message -> {field name: value}.

    Args:
        message: the encoded bytes.
        schema: {field number: (field name, wire type)}. Other fields are skipped.
        repeated: names of the fields whose values are collected in a list.

    A missing number is 0, and missing bytes are b"". If a field occurs twice, its last value counts.
    """
    fields = {name: b"" if wire_type == BYTES else 0 for name, wire_type in schema.values()}
    fields.update((name, []) for name in repeated)
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        wire_type = tag & 7
        name, expected = schema.get(tag >> 3, (None, wire_type))
        if wire_type != expected:
            raise CheckpointError(f"the field {name} has wire type {wire_type}, not {expected}")
        value, position = read_value(message, position, wire_type)
        if name in repeated:
            fields[name].append(value)
        elif name is not None:
            fields[name] = value
    return fields


def read_value(message, position, wire_type):
    """Read the value of a field -> (int or bytes, next position)."""
    if wire_type == VARINT:
        return read_varint(message, position)
    if wire_type == BYTES:
        size, position = read_varint(message, position)
        return read_slice(message, position, size)
    if wire_type in (FIXED32, FIXED64):
        return read_slice(message, position, 4 if wire_type == FIXED32 else 8)
    raise CheckpointError(f"a field has the unknown wire type {wire_type}")


def read_varint(data, position):
    """Read an integer of at most 10 bytes -> (int, next position).

    Each byte has 7 bits of the number, lowest first. The high bit is set in all bytes but the last.
    """
    number = 0
    for shift in range(0, 64, 7):
        byte, position = read_slice(data, position, 1)
        number |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    if byte[0] >= 0x80 or (byte[0] == 0 and shift > 0):
        raise CheckpointError("an integer has too many bytes")
    return number, position


def read_slice(data, position, size):
    """Read exactly `size` bytes -> (bytes, next position)."""
    end = position + size
    if end > len(data):
        raise CheckpointError(f"damaged: it needs bytes {position} to {end}, but there are {len(data)}")
    return data[position:end], end
