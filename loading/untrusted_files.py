"""Read untrusted files: limited size, strict JSON, and CheckpointError for every defect."""

import contextlib
import json
import mmap
import os

MAX_SIZE = 2**26  # bytes; default limit for a file that is read into memory. Real ones have up to 10 MB
CHARS_PER_PART = 8  # fewest characters per list or object in a JSON file; the densest real ones have 10
LFS_POINTER = b"version https://git-lfs"  # the first bytes of a pointer, which a clone without LFS has
MAX_DIGITS = 40  # of an integer in JSON; transformers writes 31 digits for "no limit"


class CheckpointError(ValueError):
    """A file of a model is damaged, malformed or not supported. The message names the file."""


@contextlib.contextmanager
def error_context(context):
    """Turn any ValueError into a CheckpointError, with the name of the file or tensor in front."""
    try:
        yield
    except ValueError as error:
        raise CheckpointError(f"{context}: {error}") from None


def map_file(path):
    """Memory-map a whole file, read-only. An empty file cannot be mapped and becomes b"".

    Raises CheckpointError for a Git LFS pointer.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reject_lfs_pointer(data, path)
    return data


def read_bytes(path, max_size=MAX_SIZE):
    """Read a whole file.

    Raises:
        CheckpointError: the file exceeds max_size bytes, or is a Git LFS pointer.
        FileNotFoundError: the file does not exist.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, max_size) + 1)  # not max_size: read allocates what it is asked for
    if len(content) > max_size:
        raise CheckpointError(f"{path}: the file exceeds its limit of {max_size} bytes")
    reject_lfs_pointer(content, path)
    return content


def reject_lfs_pointer(data, path):
    """Raise CheckpointError if the data of a file is a pointer of Git LFS instead of its content."""
    if data[: len(LFS_POINTER)] == LFS_POINTER:
        raise CheckpointError(
            f"{path}: this is a Git LFS pointer, not the file itself; run `git lfs pull` in the clone"
        )


def read_text(path, max_size=MAX_SIZE):
    """Read a UTF-8 file, with any line ends, with or without a BOM (byte-order mark).

    Raises as `read_bytes` does, and CheckpointError for invalid UTF-8.
    """
    content = read_bytes(path, max_size)
    with error_context(path):
        return content.decode("utf-8-sig").replace("\r\n", "\n")


def read_json(path, max_size=MAX_SIZE):
    """Read a JSON file that contains an object -> dict. Raises as `read_text` and `parse_json` do."""
    text = read_text(path, max_size)
    with error_context(path):
        return parse_json(text)


def parse_json(text):
    """Parse a JSON object -> dict.

    Raises CheckpointError for anything else, and for duplicate names: parsers disagree on which value counts.
    """
    n_parts = text.count("[") + text.count("{")
    if n_parts > 1000 + len(text) // CHARS_PER_PART:  # in memory, each takes many times its size in the file
        raise CheckpointError(f"the JSON has {n_parts} lists and objects in {len(text)} characters: too many")
    try:
        value = json.loads(
            text,
            object_pairs_hook=reject_duplicates,
            parse_int=parse_short_int,
            parse_constant=reject_constant,
        )
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError("not a JSON object")
    return value


def reject_duplicates(pairs):
    """The (name, value) pairs of a JSON object -> dict."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise CheckpointError("duplicate name in a JSON object")
    return values


def parse_short_int(digits):
    """Parse an integer. Long ones are rejected: their time grows with the square of their length."""
    if len(digits) > MAX_DIGITS:
        raise CheckpointError(f"a number has {len(digits)} digits; the limit is {MAX_DIGITS}")
    return int(digits)


def reject_constant(name):
    """Reject NaN and Infinity, which Python's parser accepts."""
    raise CheckpointError(f"{name} is not valid JSON")
