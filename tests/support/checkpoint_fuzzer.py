"""Fuzz the loader: change one file of a good model, load it, and check what happens.

A case changes bytes anywhere, or changes values and then repairs all checksums and sizes. The second kind
reaches the code behind the checksums. `loading/test_damaged_files.py` runs the cases.
"""

import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from loading.leveldb_table import read_table
from loading.model_folder import load_folder
from loading.untrusted_files import CheckpointError
from support.bundle_writer import block, table, varint, with_trailer, write_bundle
from support.hub_models import HUB, read_json
from support.pytorch_fuzzer import change_pytorch
from support.random_params import random_params

if sys.platform != "win32":
    import resource

HUB_FOLDERS = ("float32", "float16", "sharded", "pytorch", "pytorch_sharded", "pytorch_legacy")
TEXT = "[MASK] <user name>[SEP] The king and the old man. \u00e9\u4f60\U0001f642 12345   " + "a" * 22
MAX_SECONDS = 1
MAX_BYTES = 64 * 2**20
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 2**31 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**19, 10**30)
TEXTS = ("", "F32", "F64", "BOOL", "\x00", "../x", "a" * 1000)
VALUES = (*NUMBERS, *TEXTS, None, True, [], {}, [[]], 0.5, 1e308)  # of JSON


# Good models.


def make_models(folder):
    """Write a small good model in each format -> ({model: folder}, {model: file names})."""
    models = {name: shutil.copytree(HUB / name, folder / name) for name in HUB_FOLDERS}
    mask = {"content": "[MASK]", "lstrip": True, "rstrip": True, "single_word": True, "normalized": False}
    (models["float32"] / "added_tokens.json").write_text('{"<user name>": 301, "[SEP]": 302}')
    (models["float32"] / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": mask, "pad_token": "a"})
    )
    models["openai"] = make_openai_model(folder / "openai")
    names = {name: sorted(path.name for path in models[name].iterdir()) for name in models}
    for name in names:
        names[name] = [file for file in names[name] if file != "expected.json"]
    return models, names


def make_openai_model(folder):
    """Write a model in OpenAI's layout -> the folder."""
    folder.mkdir()
    vocabulary = read_json(HUB / "float32" / "vocab.json")
    sizes = {"n_vocab": len(vocabulary), "n_ctx": 8, "n_embd": 4, "n_layer": 1}
    shutil.copy(HUB / "float32" / "vocab.json", folder / "encoder.json")
    shutil.copy(HUB / "float32" / "merges.txt", folder / "vocab.bpe")
    (folder / "hparams.json").write_text(json.dumps({**sizes, "n_head": 2}))
    params = random_params(**sizes, std=1)
    variables = {}

    def collect(name, tree):
        if isinstance(tree, np.ndarray):
            variables[name] = tree[None] if name.endswith("/w") else tree
        else:
            for key, value in tree.items():
                collect(f"{name}/{key}", value)

    for layer, tree in enumerate(params.pop("blocks")):
        collect(f"model/h{layer}", tree)
    collect("model", params)
    write_bundle(folder / "model.ckpt", variables, block_size=500)
    return folder


# Changes.


def change_file(file, content, rng):
    """Change the content of a file at random, by its format."""
    if rng.random() < 0.3:
        return change_bytes(content, rng)
    if file.endswith(".json"):
        return json.dumps(change_json(json.loads(content), rng)).encode()
    if file.endswith(".index"):
        return change_index(content, rng)
    if file.endswith(".safetensors"):
        return change_safetensors(content, rng)
    if file.endswith(".bin"):
        return change_pytorch(content, rng)
    return change_bytes(content, rng)


def change_bytes(content, rng):
    """Make one or a few changes to bytes anywhere."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((1, 1, 2, 4, 8, 100)))
        piece = content[start:end]
        other = rng.randrange(len(content) + 1)
        content[start:end] = rng.choice(
            (
                b"",
                piece + piece,
                bytes(len(piece)),
                b"\xff" * len(piece),
                rng.randbytes(len(piece)),
                bytes([byte ^ 1 << rng.randrange(8) for byte in piece]),
                (rng.choice(NUMBERS) % 2**64).to_bytes(8, rng.choice(("little", "big"))),
                content[other : other + rng.choice((1, 10, 100))],
            )
        )
    return bytes(content[: rng.randrange(len(content) + 1)] if rng.random() < 0.05 else content)


def change_json(value, rng):
    """Replace a value somewhere in a JSON tree."""
    if rng.random() < 0.15 or not value or not isinstance(value, (dict, list)):
        return rng.choice(VALUES)
    if isinstance(value, list):
        value = list(value)
        value[rng.randrange(len(value))] = change_json(rng.choice(value), rng)
        return value * 2 if rng.random() < 0.1 else value
    name = rng.choice(list(value))
    changed = {**value, name: change_json(value[name], rng)}
    if rng.random() < 0.2:
        changed[rng.choice(("x", "../x", "__metadata__", "a" * 2000))] = changed.pop(name)
    return changed


def change_index(content, rng):
    """Change the records of a LevelDB table, or the bytes of its blocks, and repair the checksums."""
    records = [(key.encode(), value) for key, value in read_table(content).items()]
    n = rng.randrange(len(records))
    key, value = records[n]
    if rng.random() < 0.8:
        value = change_bytes(value, rng) if rng.random() < 0.7 else rng.choice(records)[1]
    else:
        key = change_bytes(key, rng)
    records[n] = (key, value)
    if rng.random() < 0.7:
        return table(sorted(records), rng.choice((1, 300, 2**18)))
    contents = with_trailer(change_bytes(block(sorted(records)), rng))
    handle = bytes([0]) + varint(len(contents) - 5)
    index_block = block([(b"z", handle)])
    if rng.random() < 0.5:
        index_block = change_bytes(index_block, rng)
    footer = varint(len(contents)) + varint(len(block([])))
    contents += with_trailer(block([]))
    footer += varint(len(contents)) + varint(len(index_block))
    return contents + with_trailer(index_block) + footer.ljust(40, b"\0") + content[-8:]


def change_safetensors(content, rng):
    """Change the header of a safetensors file, and repair its size."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.7:
        header = json.dumps(change_json(json.loads(header), rng)).encode()
    else:
        header = change_bytes(header, rng)
    return len(header).to_bytes(8, "little") + header + data


# Cases.


def run_cases(n_cases, seed):
    """Run cases -> Counter of the outcomes "loaded", "rejected" and "missing".

    Raises:
        AssertionError: a case exceeded MAX_SECONDS.
        MemoryError: a case exceeded MAX_BYTES (Linux only).
        Exception: the loader raised something else than CheckpointError. The message names the case.
    """
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        models, names = make_models(Path(folder))
        for name in models:
            load_folder(models[name])
        for case in range(n_cases):
            rng = random.Random(f"{seed} {case}")
            model = rng.choice(sorted(models))
            path = models[model] / rng.choice(names[model])
            content = path.read_bytes()
            path.write_bytes(change_file(path.name, content, rng))
            try:
                outcomes[load(models[model])] += 1
            except Exception as error:
                raise type(error)(f"seed {seed}, case {case}, {model}/{path.name}: {error}") from error
            path.write_bytes(content)
    return outcomes


def load(folder):
    """Load a model within the limits of time and memory -> outcome."""
    start = time.process_time()
    try:
        with limited_memory():
            encoder, _, _, _ = load_folder(folder)
            with contextlib.suppress(ValueError):  # the vocabulary may lack a byte of the text
                encoder.decode(encoder.encode(TEXT))
        outcome = "loaded"
    except CheckpointError:
        outcome = "rejected"
    except FileNotFoundError:  # an index names a file that does not exist
        outcome = "missing"
    seconds = time.process_time() - start
    assert seconds < MAX_SECONDS, f"it took {seconds:.1f} s"
    return outcome


@contextlib.contextmanager
def limited_memory():
    """Raise MemoryError when more than MAX_BYTES are allocated. Linux only; no limit elsewhere."""
    if not sys.platform.startswith("linux"):
        yield
        return
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (n_pages * resource.getpagesize() + MAX_BYTES, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
