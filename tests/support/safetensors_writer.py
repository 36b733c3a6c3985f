"""Write safetensors files byte by byte, so that a test can break every part."""

import json


def safetensors_file(header, data=bytes(12), size=None):
    """A file in bytes. The header is bytes or a JSON value; `size` replaces its true size."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


def safetensors_entry(dtype="F32", shape=(3,), offsets=(0, 12), **more):
    """The description of a tensor in the header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}
