"""Reading files that a stranger may have made: never more than they should have, and every fault by name."""

import contextlib
import json

MAX_SIZE = 2**20  # bytes of a file that is read whole, where nothing else is said
MAX_PARTS = 200_000  # lists and objects in a JSON file; a tokenizer.json of 50,257 tokens has a quarter of it


class CheckpointError(ValueError):
    """A model's file is damaged, or not of the format it should be."""


@contextlib.contextmanager
def faults_of(what):
    """Make any ValueError a CheckpointError that says what it is about: a file, or a part of one."""
    try:
        yield
    except ValueError as fault:
        raise CheckpointError(f"{what}: {fault}") from None


def read_bytes(path, max_size=MAX_SIZE):
    """The whole content of a file.

    Raises:
        CheckpointError: it has more than max_size bytes.
        FileNotFoundError: there is no such file.
    """
    with open(path, "rb") as file:
        content = file.read(max_size + 1)
    if len(content) > max_size:
        raise CheckpointError(f"{path}: more than {max_size} bytes are too many for this file")
    return content


def read_text(path, max_size=MAX_SIZE):
    """The text of a UTF-8 file. Raises as `read_bytes` does."""
    content = read_bytes(path, max_size)
    with faults_of(path):
        return content.decode("utf-8")


def read_json(path, max_size=MAX_SIZE):
    """The object in a JSON file -> dict. Raises as `read_bytes` does."""
    text = read_text(path, max_size)
    with faults_of(path):
        return parse_json(text)


def parse_json(text):
    """The object in a JSON text -> dict. No name may come twice: readers disagree on which one counts."""
    if text.count("[") + text.count("{") > MAX_PARTS:  # each takes many times its bytes of memory
        raise CheckpointError("it has too many parts")
    try:
        value = json.loads(
            text, object_pairs_hook=unique_names, parse_int=short_int, parse_constant=no_number
        )
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError("it is not a JSON object of names and values")
    return value


def unique_names(pairs):
    names = dict(pairs)
    if len(names) < len(pairs):
        raise CheckpointError("a name comes twice in one JSON object")
    return names


def short_int(digits):
    """int, but not a long one, which takes quadratic time (transformers writes 31 digits for "any")."""
    if len(digits) > 40:
        raise CheckpointError(f"a number has {len(digits)} digits")
    return int(digits)


def no_number(name):
    raise CheckpointError(f"{name} is not a number in JSON")
