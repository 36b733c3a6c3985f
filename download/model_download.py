"""Download all files of a model: choose a server, fetch what is missing, verify it, then rename it."""

import contextlib
import os
import shutil
from pathlib import Path

import requests
from tqdm import tqdm

from download.file_lock import locked
from download.http_probe import first_available, is_missing, probe_all
from download.http_session import describe_error, new_session
from download.model_sources import find_sources
from download.published_checksums import PUBLISHED, check_published, check_published_size, hash_file
from download.resumable_http import fetch, find_all_partials, find_partial, size_of
from loading.file_verification import check_file
from loading.model_folder import OPENAI_FILES, OPTIONAL_FILES, SHARD_INDEX, hub_files, missing_files
from loading.safetensors import list_shards
from loading.tokenizer_files import HUB_TOKENIZERS, MAX_VOCABULARY_SIZE
from loading.untrusted_files import CheckpointError

SMALL_FILES = (".json", ".bpe", ".txt", ".index")  # at most MAX_VOCABULARY_SIZE bytes each


def download_model(model, model_dir, mirror=None):
    """Download the files of a model that are missing from `model_dir`, with one progress bar on stderr.

    Args:
        model, mirror: see `find_sources`. Files from a mirror may differ from the published ones.

    Raises:
        ValueError: see `find_sources`.
        OSError: no server has the model, the connection breaks, a file is damaged, or the disk is full or
            read-only. Partial files are kept; the next call resumes them.
    """
    model_dir = Path(model_dir)
    sources = find_sources(model, mirror)
    first_urls = [f"{url}/{'config.json' if is_hub else 'hparams.json'}" for url, is_hub in sources]
    url, is_hub = sources[first_available(first_urls)]
    published = {} if mirror else PUBLISHED.get(model, {})
    model_dir.parent.mkdir(parents=True, exist_ok=True)
    with locked(model_dir.with_name(f"{model_dir.name}.lock")), new_session() as session:
        try:
            model_dir.mkdir(exist_ok=True)
            if missing_files(model_dir):  # not if another process has just downloaded them
                if is_hub:
                    remote = probe_hub_model(session, url, model_dir, published)
                else:
                    remote = probe_openai_model(url)
                download_files(session, url, remote, model_dir, published)
        except CheckpointError as error:
            raise OSError(str(error)) from None
        except (requests.RequestException, ValueError) as error:  # ValueError: an invalid URL
            raise OSError(describe_error(error, url)) from None
        finally:
            with contextlib.suppress(OSError):  # the folder is not empty
                model_dir.rmdir()


def probe_files(url, files):
    """Probe the files of a folder on a server -> {file: result of `probe_all`}."""
    return dict(zip(files, probe_all([f"{url}/{file}" for file in files]), strict=True))


def probe_openai_model(url):
    """Probe the files of a model in OpenAI's layout -> {file: file info}."""
    return ignore_errors(probe_files(url, OPENAI_FILES))


def probe_hub_model(session, url, folder, published):
    """Find out which files of a model on the hub to download -> {file: file info}.

    Deletes the small files of an earlier attempt: they may belong to another version of the weights.
    """
    tokenizers = [file for files in HUB_TOKENIZERS for file in files]
    small_files = ["config.json", *tokenizers, *OPTIONAL_FILES, SHARD_INDEX]
    for file in small_files:
        (folder / file).unlink(missing_ok=True)
    results = probe_files(url, [*small_files, "model.safetensors"])
    remote = {file: result for file, result in results.items() if not is_missing(result)}
    for file, result in remote.items():
        if isinstance(result, Exception):  # the file may exist, so the model cannot do without it
            raise OSError(describe_error(result, f"{url}/{file}"))
    if "vocab.json" in published:
        remote.pop("tokenizer.json", None)  # it has no published checksum
    if "model.safetensors" not in remote and SHARD_INDEX not in remote:
        raise OSError(f"{url} has no model.safetensors; other formats are not supported")

    def find_shards():
        download_files(session, url, {SHARD_INDEX: remote[SHARD_INDEX]}, folder, {})
        shards = probe_files(url, list_shards(folder / SHARD_INDEX))
        remote.update(ignore_errors(shards))
        return list(shards)

    available = set(remote)
    files = hub_files(available.__contains__, find_shards)
    return {file: remote.get(file, {}) for file in files}


def ignore_errors(results):
    """Replace the exceptions in {file: result of `probe_all`} by {}: the download will report them."""
    return {file: {} if isinstance(result, Exception) else result for file, result in results.items()}


def download_files(session, url, remote, folder, published):
    """Download those files that the folder does not have.

    Args:
        remote: {file: file info}, from a probe.
        published: {file: Published}, for files with published checksums.
    """
    missing = [file for file in remote if not is_current(folder / file, remote[file])]
    sizes = [remote[file].get("size") for file in missing]
    total = sum(sizes) if all(sizes) else None
    needed = (total or 0) - sum(size_of(find_partial(folder / file)) for file in missing)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"not enough disk space in {folder}: {needed} bytes needed, {free} bytes free")
    with tqdm(total=total, desc=folder.name, unit="B", unit_scale=True) as bar:
        for file in missing:
            download_file(session, f"{url}/{file}", folder / file, remote[file], published.get(file), bar)


def is_current(path, info):
    """Whether the file exists and has the server's SHA-256, if that is known.

    An incomplete model can have files of an older version, because the hub may have changed since.
    """
    return path.is_file() and ("sha256" not in info or hash_file(path, "sha256") == info["sha256"])


def download_file(session, url, path, remote, published, bar):
    """Download one file, verify it, and only then rename it to `path`."""
    if published and "size" in remote:
        check_published_size(url, remote["size"], published)
    max_size = MAX_VOCABULARY_SIZE if path.suffix in SMALL_FILES else None
    partial, info = fetch(session, url, path, bar, max_size)
    if info.get("version") == remote.get("version"):
        info = remote | info
    try:
        check_download(url, path.name, partial, info, published)
    except CheckpointError as error:
        message = str(error).replace(str(partial), url)
        os.truncate(partial, getattr(error, "offset", 0))  # keep the tensors before the damaged one
        raise OSError(
            f"{message}; the damaged part is discarded; if this persists, delete the folder {path.parent}"
        ) from None
    partial.replace(path)
    for other_version in find_all_partials(path):
        other_version.unlink()


def check_download(url, file, partial, info, published):
    """Raise CheckpointError if the file is malformed, or differs from the server's or the published hash."""
    check_file(file, partial)
    size = partial.stat().st_size
    if size != info.get("size", size):
        raise CheckpointError(f"{url}: received {size} bytes, expected {info['size']}")
    for algorithm in ("md5", "sha256"):
        if algorithm in info and hash_file(partial, algorithm) != info[algorithm]:
            raise CheckpointError(f"{url}: the content does not match the server's {algorithm}")
    if published:
        check_published(url, partial, published)
