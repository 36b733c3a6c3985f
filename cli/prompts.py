"""Read the prompts: from an argument, a file, standard input, or a file with many."""

import gzip
import json
import os
import sys
import zlib
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"  # no UTF-8 text begins with these bytes
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_prompts(prompt, prompt_file, prompts_file, unconditional):
    """Find the source of the prompts and read it.

    The arguments are flags of `cli.flags.main`. Without any of them, the prompt is standard input.

    Returns:
        a list of texts, or None for an interactive session: no prompt, and standard input is a terminal.

    Raises:
        ValueError: there is more than one source, a prompt is empty, or a file cannot be read.
    """
    given = [source for source in (prompt, prompt_file, prompts_file) if source is not None]
    if len(given) > 1:
        raise ValueError("give only one of these: a prompt, --prompt_file, --prompts_file")
    if unconditional:
        if given not in ([], [""]):
            raise ValueError("--unconditional starts without a prompt: remove the prompt or the flag")
        return [""]
    if prompts_file is not None:
        return read_prompts_file(prompts_file)
    if not given and sys.stdin and sys.stdin.isatty():
        return None
    text = read_text("-" if prompt_file is None else prompt_file) if prompt is None else prompt
    if not text:
        raise ValueError("the prompt is empty: give one in quotes, or --unconditional to start without one")
    return [text]


def read_prompts_file(path):
    """Read a file with many prompts. Raises ValueError if it has none, or if one is empty or invalid."""
    texts = split_texts(read_text(path), path)
    if not texts:
        raise ValueError(f"{path} has no prompts: write one on each line")
    for place, text in texts.items():
        if not text:
            raise ValueError(f"{path}, {place}: the prompt is empty")
    return list(texts.values())


def read_text(path):
    """Read a UTF-8 file, or standard input if the path is "-", without the line end at its end.

    It decompresses a gzip file, and reads UTF-16 with a byte-order mark, which PowerShell writes.

    Raises:
        ValueError: the file cannot be read, is damaged, or is not UTF-8.
    """
    try:
        if path == "-":
            content = sys.stdin.buffer.read() if sys.stdin else b""
        else:
            content = Path(os.path.expanduser(path)).read_bytes()
        if content.startswith(GZIP_MAGIC):
            content = gzip.decompress(content)
        text = content.decode("utf-16" if content[:2] in UTF_16_MARKS else "utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: the byte at offset {error.start} is invalid") from None
    return text.replace("\r\n", "\n").removesuffix("\n")


def split_texts(text, path, key="prompt"):
    """Split a file into its texts: a JSON array, JSON lines, or one text per line. Blank lines are skipped.

    A JSON array contains texts, or objects with a text as `key`. JSON lines are such objects, one per line.

    Returns:
        {place: text}, such as {"line 1": "Once", "line 3": "The king"}. In an array, the places are items.

    Raises:
        ValueError: an item or a line of JSON has no text. The message names the path and the place.
    """
    lines = text.replace("\r", "\n").split("\n")  # old Mac files end lines with \r
    lines = {f"line {number}": line for number, line in enumerate(lines, 1) if line.strip()}
    array = parse_json(text, list)
    if array is not None:
        items = {f"item {number}": item for number, item in enumerate(array, 1)}
    elif next(iter(lines.values()), "").strip() in ("[", "{"):  # indented JSON
        raise ValueError(f"{path}: expected a complete JSON array, or a JSON object on each line")
    else:
        objects = {place: parse_json(line, dict) for place, line in lines.items()}
        items = objects if is_json_lines(objects.values(), key) else lines
    return {place: get_text(item, key, f"{path}, {place}") for place, item in items.items()}


def parse_json(text, expected_type):
    """Decode JSON. Returns None if it is not valid, or if the value has another type."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, expected_type) else None


def is_json_lines(objects, key):
    """Decide from the objects of the lines, None for a line of text: all are objects, or one has the key."""
    return None not in objects or any(key in (value or ()) for value in objects)


def get_text(item, key, place):
    """Return a text, or the text of an object. Raises ValueError if there is none."""
    text = item.get(key) if isinstance(item, dict) else item
    try:
        text.encode("utf-8")
    except (AttributeError, UnicodeEncodeError):  # not a text, or it has a lone surrogate
        raise ValueError(f'{place}: expected a JSON object with a text as "{key}"') from None
    return text
