"""Write TensorFlow V2 checkpoints for the tests, with the same bytes as TensorFlow.

loading/test_tf_checkpoint.py proves this: it rewrites the demo model and compares the files.
"""

import google_crc32c
import numpy as np

# TensorFlow's numbers. NumPy has no bfloat16, so uint16 stands for its bits.
TF_DTYPE_NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "uint16": 14, "float16": 19}
TABLE_MAGIC = 0xDB4775248B80FB57


def write_bundle(prefix, tensors, n_shards=1, block_size=2**18, header=None, entries=None):
    """Write {name: array} to PREFIX.index and PREFIX.data-*.

    To break the files, `header` and `entries` ({name: {...}}) replace fields of the protocol buffers, as
    `message` takes them.
    """
    shards = [bytearray() for _ in range(n_shards)]
    records = {b"": message({1: n_shards, 3: message({1: 1})} | (header or {}))}
    for n, name in enumerate(sorted(tensors)):
        array = tensors[name]
        raw = array.tobytes()
        shard = shards[n % n_shards]
        fields = {
            1: TF_DTYPE_NUMBERS[array.dtype.name],
            2: message({2: [message({1: size}) for size in array.shape]}),
            3: n % n_shards,
            4: len(shard),
            5: len(raw),
            6: np.uint32(masked_crc32c(raw)),
        }
        records[name.encode()] = message(fields | (entries or {}).get(name, {}))
        shard += raw
    with open(f"{prefix}.index", "wb") as file:
        file.write(table(sorted(records.items()), block_size))
    for n, shard in enumerate(shards):
        with open(f"{prefix}.data-{n:05d}-of-{n_shards:05d}", "wb") as file:
            file.write(shard)


def table(records, block_size=2**18):
    """Encode sorted (key, value) records as a LevelDB table -> bytes."""
    contents, index, pending = b"", [], []
    for n, (key, value) in enumerate(records):
        pending.append((key, value))
        is_last = n + 1 == len(records)
        if is_last or len(block(pending)) >= block_size:
            stored = block(pending)
            handle = varint(len(contents)) + varint(len(stored))
            index.append((successor(key) if is_last else key, handle))
            contents += with_trailer(stored)
            pending = []
    metaindex = varint(len(contents)) + varint(len(block([])))
    contents += with_trailer(block([]))
    index_block = block(index, restart_interval=1)
    footer = metaindex + varint(len(contents)) + varint(len(index_block))
    contents += with_trailer(index_block)
    return contents + footer.ljust(40, b"\0") + TABLE_MAGIC.to_bytes(8, "little")


def successor(key):
    """A short key that sorts after `key`. TensorFlow writes it to the index, for the last data block."""
    for n, byte in enumerate(key):
        if byte < 0xFF:
            return key[:n] + bytes([byte + 1])
    return key


def block(records, restart_interval=16):
    """Encode a block -> bytes: records without the prefix of the previous key, then the restart points."""
    contents, restarts, last_key = b"", [], b""
    for n, (key, value) in enumerate(records):
        if n % restart_interval == 0:
            restarts.append(len(contents))
            last_key = b""
        n_shared = 0
        while n_shared < min(len(key), len(last_key)) and key[n_shared] == last_key[n_shared]:
            n_shared += 1
        contents += varint(n_shared) + varint(len(key) - n_shared) + varint(len(value))
        contents += key[n_shared:] + value
        last_key = key
    restarts = restarts or [0]
    return contents + np.array([*restarts, len(restarts)], "<u4").tobytes()


def with_trailer(contents, compression=b"\0"):
    """A block, its compression type and their checksum."""
    return contents + compression + masked_crc32c(contents + compression).to_bytes(4, "little")


def message(fields):
    """Encode {field number: int, np.uint32 (fixed32), bytes, or a list} as a protocol buffer; omit zeros."""
    encoded = b""
    for number, values in sorted(fields.items()):
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bytes):
                encoded += varint(number << 3 | 2) + varint(len(value)) + value
            elif isinstance(value, np.uint32):
                encoded += varint(number << 3 | 5) + value.tobytes()
            elif value:
                encoded += varint(number << 3) + varint(value)
    return encoded


def varint(number):
    """Encode an integer: 7 bits per byte, lowest first."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded) + bytes([number])


def masked_crc32c(data):
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32
