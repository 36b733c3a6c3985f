"""Values of float16, bfloat16 and float64 as float32, from both checkpoint formats."""

import numpy as np
from support.bundle_writer import write_bundle
from support.safetensors_writer import safetensors_entry, safetensors_file

from loading.safetensors import read_safetensors
from loading.tf_checkpoint import read_tf_checkpoint

BFLOAT16 = np.array([0x3F80, 0xBF80, 0x4049, 0x7F80, 0x0000], np.uint16)
BFLOAT16_VALUES = np.array([1, -1, 3.140625, np.inf, 0], np.float32)
DOUBLES = np.array([[1.1, -2.2e-40]], np.float64)


def test_bfloat16_and_float64_of_a_tf_checkpoint_become_float32(tmp_path):
    write_bundle(tmp_path / "x", {"b": BFLOAT16, "d": DOUBLES})
    tensors = read_tf_checkpoint(tmp_path / "x")
    np.testing.assert_array_equal(tensors["b"], BFLOAT16_VALUES, strict=True)
    np.testing.assert_array_equal(tensors["d"], DOUBLES.astype(np.float32), strict=True)


def test_bfloat16_and_float64_of_safetensors_become_float32(tmp_path):
    header = {"b": safetensors_entry("BF16", (5,), (0, 10)), "d": safetensors_entry("F64", (1, 2), (10, 26))}
    content = safetensors_file(header, BFLOAT16.tobytes() + DOUBLES.tobytes())
    (tmp_path / "x.safetensors").write_bytes(content)
    tensors = read_safetensors(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(tensors["b"], BFLOAT16_VALUES, strict=True)
    np.testing.assert_array_equal(tensors["d"], DOUBLES.astype(np.float32), strict=True)
