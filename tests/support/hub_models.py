"""The models in data/hub/, and edits to a copy of one of them."""

import json

import pytest

from support.paths import DATA

HUB = DATA / "hub"
MODELS = ["float32", "float16", "bfloat16", "sharded", "other"]
MODELS += ["pytorch", "pytorch_sharded", "pytorch_legacy"]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def edit_json(path, **changes):
    """Replace some values of a JSON object in a file."""
    path.write_text(json.dumps({**read_json(path), **changes}), encoding="utf-8")


def edit_tensors(folder, change):
    """Replace the tensors in model.safetensors by change(tensors), with the safetensors package."""
    safetensors = pytest.importorskip("safetensors.numpy")
    path = folder / "model.safetensors"
    changed = change(safetensors.load_file(path))
    safetensors.save_file(changed, path)
