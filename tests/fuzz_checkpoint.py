"""Files as a stranger may have made them: each is read, or refused with CheckpointError, and soon.

    python tests/fuzz_checkpoint.py [--n=200000] [--seed=0]

A case begins with good files and changes one of them: its bytes anywhere, or its parts, with checksums that
are right again, so that what comes behind the checksums is reached. test_fuzz.py runs some cases each time.
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

if sys.platform != "win32":
    import resource

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from bundle_writer import block, table, varint, with_trailer, write_bundle  # noqa: E402
from random_params import random_params  # noqa: E402

from checkpoint import CheckpointError  # noqa: E402
from formats import load_folder  # noqa: E402
from index_table import table_records  # noqa: E402

TEXT = "The king gave his daughter to the old man. \u00e9\u4f60\U0001f642 12345   aaaaaaaaaaaaaaaaaaaaaa"
MAX_SECONDS = 1
MAX_BYTES = 64 * 2**20
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 2**31 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**19, 10**30)
VALUES = (
    *NUMBERS,
    None,
    True,
    "",
    "F32",
    "F64",
    "BOOL",
    [],
    {},
    [[]],
    0.5,
    1e308,
    "\x00",
    "../x",
    "a" * 1000,
)


def make_models(folder):
    """A good model in each format, as small as can be -> their folders, and the file names in each."""
    hub = HERE / "data" / "hub"
    models = {name: shutil.copytree(hub / name, folder / name) for name in ("float32", "float16", "sharded")}
    openai = folder / "openai"
    openai.mkdir()
    vocabulary = json.loads((hub / "float32" / "vocab.json").read_text(encoding="utf-8"))
    sizes = {"n_vocab": len(vocabulary), "n_ctx": 8, "n_embd": 4, "n_layer": 1}
    shutil.copy(hub / "float32" / "vocab.json", openai / "encoder.json")
    shutil.copy(hub / "float32" / "merges.txt", openai / "vocab.bpe")
    (openai / "hparams.json").write_text(json.dumps({**sizes, "n_head": 2}))
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
    write_bundle(openai / "model.ckpt", variables, block_size=500)
    models["openai"] = openai
    names = {name: sorted(path.name for path in models[name].iterdir()) for name in models}
    for name in names:
        names[name] = [file for file in names[name] if file != "expected.json"]
    return models, names


# Changes.


def change_bytes(content, rng):
    """A few changes of any bytes."""
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
    """Another value somewhere in a tree of JSON."""
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
    """A table whose checksums are right, with other records in it; or with other bytes in a block."""
    records = [(key.encode(), value) for key, value in table_records(content).items()]
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
    index_block = (
        change_bytes(block([(b"z", handle)]), rng) if rng.random() < 0.5 else block([(b"z", handle)])
    )
    footer = varint(len(contents)) + varint(len(block([])))
    contents += with_trailer(block([]))
    footer += varint(len(contents)) + varint(len(index_block))
    return contents + with_trailer(index_block) + footer.ljust(40, b"\0") + content[-8:]


def change_safetensors(content, rng):
    """A file whose header is another one, and as long as it says."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    if rng.random() < 0.7:
        header = json.dumps(change_json(json.loads(header), rng)).encode()
    else:
        header = change_bytes(header, rng)
    return len(header).to_bytes(8, "little") + header + data


def change(file, content, rng):
    if rng.random() < 0.3:
        return change_bytes(content, rng)
    if file.endswith(".json"):
        return json.dumps(change_json(json.loads(content), rng)).encode()
    if file.endswith(".index"):
        return change_index(content, rng)
    if file.endswith(".safetensors"):
        return change_safetensors(content, rng)
    return change_bytes(content, rng)


# Cases.


def run_cases(n, seed, on_case=lambda: None):
    """Run n cases -> how often each outcome was seen.

    Raises:
        AssertionError: a case took too long.
        MemoryError: it took too much memory (on Linux only).
        Exception: whatever else than CheckpointError the reader raised. The message says which case it was.
    """
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        models, names = make_models(Path(folder))
        for name in models:
            load_folder(models[name])
        for case in range(n):
            rng = random.Random(f"{seed} {case}")
            model = rng.choice(sorted(models))
            path = models[model] / rng.choice(names[model])
            content = path.read_bytes()
            path.write_bytes(change(path.name, content, rng))
            try:
                outcomes[load(models[model])] += 1
            except Exception as error:
                raise type(error)(f"seed {seed}, case {case}, {model}/{path.name}: {error}") from error
            path.write_bytes(content)
            on_case()
    return outcomes


def load(folder):
    """Load a model under the limits -> what came of it."""
    start = time.process_time()
    try:
        with limited_memory():
            encoder, _, _, _ = load_folder(folder)
            encoder.decode(encoder.encode(TEXT))
        outcome = "read"
    except CheckpointError:
        outcome = "refused"
    except FileNotFoundError:  # a list names a file that is not there
        outcome = "missing"
    seconds = time.process_time() - start
    assert seconds < MAX_SECONDS, f"it took {seconds:.1f} s"
    return outcome


@contextlib.contextmanager
def limited_memory():
    """MemoryError where more than MAX_BYTES are asked for. Where the system has no such limit, nothing."""
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


if __name__ == "__main__":
    import fire
    from tqdm import tqdm

    def main(n=200_000, seed=0):
        with tqdm(total=n, unit="case") as bar:
            print(dict(run_cases(n, seed, bar.update)))

    fire.Fire(main)
