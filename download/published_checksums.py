"""Published sizes and SHA-256 checksums of the models' files, and how to compare a file with them."""

import hashlib
from typing import NamedTuple

from tqdm import tqdm

from loading.model_folder import DATA_FILE
from loading.untrusted_files import CheckpointError

# How far to trust a published value if a file does not match it.
VERIFIED = "the published value was verified on another copy, so this file is probably wrong"
PUBLISHED_TWICE = "two sources publish this value, so this file is probably wrong"
PUBLISHED_ONCE = "only one source publishes this value, so it may be wrong"
COMPUTED = "the expected value was computed from the file format, so it may be wrong"


class Published(NamedTuple):
    """The published properties of a file."""

    size: int  # bytes
    sha256: str | None
    trust: str


VOCABULARY_SHA256 = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
MERGES_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
HPARAMS_124M = "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318"
INDEX_124M = "71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687"
DATA_124M = "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118"
HUB_124M = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"

VOCABULARY = Published(1_042_301, VOCABULARY_SHA256, VERIFIED)
MERGES = Published(456_318, MERGES_SHA256, VERIFIED)
# The tokenizer files are the same for all sizes.
TOKENIZER = {"encoder.json": VOCABULARY, "vocab.json": VOCABULARY, "vocab.bpe": MERGES, "merges.txt": MERGES}

PUBLISHED = {
    "124M": {
        **TOKENIZER,
        "hparams.json": Published(90, HPARAMS_124M, PUBLISHED_ONCE),
        "model.ckpt.index": Published(5_215, INDEX_124M, PUBLISHED_ONCE),
        DATA_FILE: Published(497_759_232, DATA_124M, PUBLISHED_TWICE),
        "model.safetensors": Published(548_105_171, HUB_124M, PUBLISHED_ONCE),
    },
    "355M": {
        **TOKENIZER,
        "hparams.json": Published(91, None, PUBLISHED_ONCE),
        "model.ckpt.index": Published(10_399, None, PUBLISHED_ONCE),
        DATA_FILE: Published(1_419_292_672, None, PUBLISHED_ONCE),
    },
    "774M": {
        **TOKENIZER,
        "model.ckpt.index": Published(15_535, None, COMPUTED),
        DATA_FILE: Published(3_096_120_320, None, COMPUTED),
    },
    "1558M": {
        **TOKENIZER,
        "model.ckpt.index": Published(20_724, None, COMPUTED),
        DATA_FILE: Published(6_230_444_800, None, COMPUTED),
    },
}


def check_published(name, path, published):
    """Compare the file at `path` with its `Published` properties.

    Raises:
        CheckpointError: size or SHA-256 do not match. The message calls the file `name`.
    """
    check_published_size(name, path.stat().st_size, published)
    if published.sha256 and (sha256 := hash_file(path, "sha256")) != published.sha256:
        raise CheckpointError(mismatch(name, f"SHA-256 {sha256}", published.sha256, published.trust))


def check_published_size(name, size, published):
    """Raise CheckpointError if the size in bytes does not match."""
    if size != published.size:
        raise CheckpointError(mismatch(name, f"{size} bytes", published.size, published.trust))


def mismatch(name, actual, expected, trust):
    return f"{name} has {actual}, expected {expected}; {trust}; --mirror=URL skips this check"


def hash_file(path, algorithm):
    """Hash a file, with a progress bar on stderr -> hexadecimal digits. `algorithm` is a name in hashlib."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    options = {"unit": "B", "unit_scale": True, "delay": 1, "leave": False, "disable": None}
    with open(path, "rb") as file, tqdm(desc="Verifying", total=path.stat().st_size, **options) as bar:
        while chunk := file.read(2**20):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
