"""Download all files of a model: choose a server, fetch what is missing, verify it, then rename it."""

import contextlib
import os
import shutil
from pathlib import Path

import requests
from tqdm import tqdm

from download.file_lock import locked
from download.http_probe import is_missing, probe_all
from download.http_session import new_session
from download.model_sources import find_sources
from download.published_checksums import PUBLISHED, check_published, check_published_size, hash_file
from download.request_errors import describe_error
from download.resumable_http import fetch, find_all_partials, find_partial, size_of
from loading.file_verification import check_file
from loading.model_folder import (
    INDEX_ENDING,
    OPENAI_FILES,
    OPTIONAL_FILES,
    WEIGHT_FILES,
    hub_files,
    missing_files,
)
from loading.shard_index import list_shards
from loading.tokenizer_files import HUB_TOKENIZERS
from loading.unsupported_files import NAMES_ON_SERVERS, explain_missing
from loading.untrusted_files import MAX_SIZE, CheckpointError

SMALL_FILES = (".json", ".bpe", ".txt", ".index")  # at most MAX_SIZE bytes each


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
    source = choose_source(find_sources(model, mirror))
    published = {} if mirror else PUBLISHED.get(model, {})
    model_dir.parent.mkdir(parents=True, exist_ok=True)
    with locked(model_dir.with_name(f"{model_dir.name}.lock")), new_session(source.auth) as session:
        try:
            model_dir.mkdir(exist_ok=True)
            if missing_files(model_dir):  # not if another process has just downloaded them
                if source.is_hub:
                    remote = probe_hub_model(session, source, model_dir, published)
                else:
                    remote = ignore_errors(probe_files(source, OPENAI_FILES))
                download_files(session, source.url, remote, model_dir, published)
        except CheckpointError as error:
            raise OSError(str(error)) from None
        except (requests.RequestException, ValueError) as error:  # ValueError: an invalid URL
            raise OSError(describe_error(error, source.url)) from None
        finally:
            with contextlib.suppress(OSError):  # the folder is not empty
                model_dir.rmdir()


def choose_source(sources):
    """Find the first Source whose server has the model. Raises OSError with the reason for each of them."""
    urls = [f"{source.url}/{'config.json' if source.is_hub else 'hparams.json'}" for source in sources]
    results = probe_all([(url, source.auth) for url, source in zip(urls, sources, strict=True)])
    reasons = []
    for source, url, result in zip(sources, urls, results, strict=True):
        if not isinstance(result, Exception):
            return source
        reason = describe_error(result, url)
        if source.is_hub and is_missing(result):
            reason += explain_missing_on_server(source, ["config.json"])
        reasons.append(reason)
    raise OSError("; ".join(dict.fromkeys(reasons)))


def explain_missing_on_server(source, missing):
    """Explain what a model on the hub has in place of its missing files. See `explain_missing`."""
    results = probe_files(source, NAMES_ON_SERVERS)
    present = [file for file, result in results.items() if not isinstance(result, Exception)]
    return explain_missing(missing, present)


def probe_files(source, files):
    """Probe the files of a folder on a server -> {file: result of `probe_all`}."""
    results = probe_all([(f"{source.url}/{file}", source.auth) for file in files])
    return dict(zip(files, results, strict=True))


def probe_hub_model(session, source, folder, published):
    """Find out which files of a model on the hub to download -> {file: file info}.

    Deletes the small files of an earlier attempt: they may belong to another version of the weights.
    """
    tokenizers = [file for files in HUB_TOKENIZERS for file in files]
    indexes = [file for file in WEIGHT_FILES if file.endswith(INDEX_ENDING)]
    small_files = ["config.json", *tokenizers, *OPTIONAL_FILES, *indexes]
    for file in small_files:
        (folder / file).unlink(missing_ok=True)
    results = probe_files(source, [*small_files, *(set(WEIGHT_FILES) - set(indexes))])
    remote = {file: result for file, result in results.items() if not is_missing(result)}
    for file, result in remote.items():
        if isinstance(result, Exception):  # the file may exist, so the model cannot do without it
            raise OSError(describe_error(result, f"{source.url}/{file}"))
    if "vocab.json" in published:
        remote.pop("tokenizer.json", None)  # it has no published checksum
    available = set(remote)
    expected = hub_files(available.__contains__, lambda index: [])
    if missing := [file for file in expected if file not in available]:
        reason = f"{source.url} lacks {', '.join(missing)}"
        raise OSError(reason + explain_missing_on_server(source, missing))

    def find_shards(index):
        download_files(session, source.url, {index: remote[index]}, folder, {})
        shards = probe_files(source, list_shards(folder / index))
        remote.update(ignore_errors(shards))
        return list(shards)

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
    max_size = MAX_SIZE if path.suffix in SMALL_FILES else None
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
