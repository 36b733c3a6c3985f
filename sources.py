"""Where a model can be had: OpenAI's server, Hugging Face's hub, or a mirror; and what its files must be."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import requests
from tqdm import tqdm

from download import (
    ask_at_once,
    describe,
    fetch,
    find_part,
    first_to_have,
    hash_file,
    is_not_there,
    locked,
    new_session,
    parts_of,
    size_of,
)
from encoder import HUB_TOKENIZERS, MAX_VOCABULARY_SIZE
from files import CheckpointError
from formats import DATA_FILE, OPENAI_FILES, OPTIONAL, SHARDS, check_file, hub_files, missing_files
from safetensors_file import list_shards

OPENAI_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
HUB_URL = "https://huggingface.co"
ADDRESS = r"https?://([^/@]*@)?([\w.-]+|\[[0-9a-f:]+\])"
HUB_NAMES = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}

# What is known of the files: bytes, sha256, and what to doubt where a file does not agree. The tokenizer's
# files are the same for all sizes.
SAME_IN_A_COPY = "doubt the file, for the latter was checked on another copy"
PUBLISHED_TWICE = "doubt the file, for the latter has been published twice"
PUBLISHED_ONCE = "doubt the latter, which has been published only once"
COMPUTED = "doubt the latter, which was computed from the format"
VOCABULARY = (1_042_301, "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783", SAME_IN_A_COPY)
MERGES = (456_318, "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5", SAME_IN_A_COPY)
TOKENIZER = {"encoder.json": VOCABULARY, "vocab.json": VOCABULARY, "vocab.bpe": MERGES, "merges.txt": MERGES}
HPARAMS_124M = "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318"
DATA_124M = "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118"
INDEX_124M = "71916f763f9746f9b2a06b12d91996cf1084ae008d0424543d39391c5f2dc687"
HUB_124M = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"
PUBLISHED = {
    "124M": {
        **TOKENIZER,
        "hparams.json": (90, HPARAMS_124M, PUBLISHED_ONCE),
        "model.ckpt.index": (5_215, INDEX_124M, PUBLISHED_ONCE),
        DATA_FILE: (497_759_232, DATA_124M, PUBLISHED_TWICE),
        "model.safetensors": (548_105_171, HUB_124M, PUBLISHED_ONCE),
    },
    "355M": {
        **TOKENIZER,
        "hparams.json": (91, None, PUBLISHED_ONCE),
        "model.ckpt.index": (10_399, None, PUBLISHED_ONCE),
        DATA_FILE: (1_419_292_672, None, PUBLISHED_ONCE),
    },
    "774M": {
        **TOKENIZER,
        "model.ckpt.index": (15_535, None, COMPUTED),
        DATA_FILE: (3_096_120_320, None, COMPUTED),
    },
    "1558M": {
        **TOKENIZER,
        "model.ckpt.index": (20_724, None, COMPUTED),
        DATA_FILE: (6_230_444_800, None, COMPUTED),
    },
}


def find_sources(model, mirror=None):
    """Where to look for a model, in this order -> [(address of its folder, whether that is as on the hub)].

    Args:
        model: a size, or the name of a model on the hub after "hf:".
        mirror: the address of a server that has the files instead, as OpenAI's or as the hub has them.

    Raises:
        ValueError: the mirror is no address.
    """
    if mirror and not re.match(ADDRESS, mirror, re.IGNORECASE):
        raise ValueError(f"mirror: {mirror!r} is not an address that begins with http:// or https://")
    hub_name = HUB_NAMES.get(model, model.removeprefix("hf:"))
    sources = [(f"{(mirror or HUB_URL).rstrip('/')}/{hub_name}/resolve/main", True)]
    if model in HUB_NAMES:
        sources.insert(0, (f"{(mirror or OPENAI_URL).rstrip('/')}/{model}", False))
    return sources


def download_gpt2_files(model_size, model_dir, mirror=None):
    """Download those files of a model that are not in the folder `model_dir` yet.

    A file gets its name once it is complete and checked. What has come of it until then stays beside it, as a
    `.part`, and the next call goes on from there. A bar on stderr counts the bytes of all files.

    Args:
        model_size, mirror: see `find_sources`. From a mirror the files may be others than the published ones.

    Raises:
        ValueError: as `find_sources`.
        OSError: no server can be reached that has the files, the connection breaks, a file is not what it
            should be, the disk is full or cannot be written.
    """
    model_dir = Path(model_dir)
    sources = find_sources(model_size, mirror)
    first_files = [f"{base}/{'config.json' if is_hub else 'hparams.json'}" for base, is_hub in sources]
    base, is_hub = sources[first_to_have(first_files)]
    known = {} if mirror else PUBLISHED.get(model_size, {})
    model_dir.parent.mkdir(parents=True, exist_ok=True)
    with locked(model_dir.with_name(f"{model_dir.name}.lock")), new_session() as session:
        try:
            model_dir.mkdir(exist_ok=True)
            if missing_files(model_dir):  # none, if another process was faster
                if is_hub:
                    promises = ask_for_hub_model(session, base, model_dir, known)
                else:
                    promises = ask_for_openai_model(base)
                download_files(session, base, promises, model_dir, known)
        except CheckpointError as fault:
            raise OSError(str(fault)) from None
        except (requests.RequestException, ValueError) as error:  # ValueError: an address that makes no sense
            raise OSError(describe(error, base)) from None
        finally:
            with contextlib.suppress(OSError):  # of a folder that is not empty
                model_dir.rmdir()


def ask_for_files(base, files):
    """What the server says of files, all asked for at once -> {file: see `ask_at_once`}."""
    return dict(zip(files, ask_at_once([f"{base}/{file}" for file in files]), strict=True))


def ask_for_openai_model(base):
    """What the server says of each file of a model -> {file: see `read_facts`}; {} where it says nothing."""
    answers = ask_for_files(base, OPENAI_FILES)
    return {file: {} if isinstance(answer, Exception) else answer for file, answer in answers.items()}


def ask_for_hub_model(session, base, folder, known):
    """What the hub says of each file of a model that is needed, of those it has -> as the other."""
    tokenizers = [file for files in HUB_TOKENIZERS for file in files]
    small = ["config.json", *tokenizers, *OPTIONAL, SHARDS]
    for file in small:  # those of an earlier attempt may be of another version than the weights to come
        (folder / file).unlink(missing_ok=True)
    answers = ask_for_files(base, [*small, "model.safetensors"])
    there = {file: answer for file, answer in answers.items() if not is_not_there(answer)}
    for file, answer in there.items():
        if isinstance(answer, Exception):
            raise OSError(describe(answer, f"{base}/{file}"))
    if "vocab.json" in known:
        there.pop("tokenizer.json", None)  # of which nothing is published
    if "model.safetensors" not in there and SHARDS not in there:
        raise OSError(f"{base} has no model.safetensors; other formats are not read")
    shards = {}

    def find_shards():
        download_files(session, base, {SHARDS: there[SHARDS]}, folder, {})
        shards.update(ask_for_files(base, list_shards(folder / SHARDS)))
        return list(shards)

    files = hub_files(there.__contains__, find_shards)
    answers = there | shards
    return {file: {} if isinstance(answers.get(file), Exception) else answers.get(file, {}) for file in files}


def download_files(session, base, promises, folder, known):
    """Download those files that the folder does not have.

    Args:
        promises: {file: what the server said of it beforehand, see `read_facts`}.
        known: what has been published of some, see PUBLISHED.
    """
    missing = [file for file in promises if not is_current(folder / file, promises[file])]
    sizes = [promises[file].get("size") for file in missing]
    total = sum(sizes) if all(sizes) else None
    to_come = (total or 0) - sum(size_of(find_part(folder / file)) for file in missing)
    free = shutil.disk_usage(folder).free
    if free < to_come:
        raise OSError(f"{to_come} more bytes are needed in {folder}, and only {free} are free")
    with tqdm(total=total, desc=folder.name, unit="B", unit_scale=True) as bar:
        for file in missing:
            download_file(session, f"{base}/{file}", folder / file, promises[file], known.get(file), bar)


def is_current(path, promise):
    """Whether a file is there, and of the version that the server has now, where that can be known.

    It is asked only while a model is not complete: then the hub may have changed since the last attempt.
    """
    return path.is_file() and ("sha256" not in promise or hash_file(path, "sha256") == promise["sha256"])


def download_file(session, url, path, promise, known, bar):
    """Download a file, check it, and only then give it its name. See `download_files`."""
    if known and promise.get("size", known[0]) != known[0]:
        raise OSError(disagreement(url, "bytes", promise["size"], known[0], known[2]))
    is_small = path.suffix in (".json", ".bpe", ".txt", ".index")
    part, facts = fetch(session, url, path, bar, MAX_VOCABULARY_SIZE if is_small else None)
    if facts.get("tag") == promise.get("tag"):
        facts = promise | facts
    try:
        check_download(url, path.name, part, facts, known)
    except CheckpointError as error:
        fault, n_good = str(error).replace(str(part), url), getattr(error, "offset", 0)
    else:
        part.replace(path)
        for other in parts_of(path):  # of other versions
            other.unlink()
        return
    os.truncate(part, n_good)
    raise OSError(f"{fault}; it is not kept. If that comes again, delete the folder {path.parent}")


def check_download(url, file, part, facts, known):
    """CheckpointError unless the part is as it should be: in itself, for the server, and as published."""
    check_file(file, part)
    if part.stat().st_size != facts.get("size", part.stat().st_size):
        raise CheckpointError(f"{url}: {part.stat().st_size} bytes have come, not {facts['size']}")
    for algorithm in ("md5", "sha256"):
        if algorithm in facts and hash_file(part, algorithm) != facts[algorithm]:
            raise CheckpointError(f"{url}: what has come does not match the server's own {algorithm}")
    if known:
        check_published(url, part, known)


def check_published(what, path, known):
    """CheckpointError if the file at `path`, called `what`, is not the one that has been published."""
    size, sha256, doubt = known
    if path.stat().st_size != size:
        raise CheckpointError(disagreement(what, "bytes", path.stat().st_size, size, doubt))
    if sha256 is not None and (found := hash_file(path, "sha256")) != sha256:
        raise CheckpointError(disagreement(what, "sha256", found, sha256, doubt))


def disagreement(what, unit, found, published, doubt):
    """What to say of a file that is not the published one."""
    advice = "with --mirror files are taken as they are"
    return f"{what}: {unit} {found}, but {published} as published; {doubt}; {advice}"
