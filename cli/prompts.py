"""Read the prompts: from an argument, a file, standard input, or a file with many."""

import json
import os
import sys
from pathlib import Path


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
        return split_prompts(read_text(prompts_file), prompts_file)
    if not given and sys.stdin and sys.stdin.isatty():
        return None
    text = read_text("-" if prompt_file is None else prompt_file) if prompt is None else prompt
    if not text:
        raise ValueError("the prompt is empty: give one in quotes, or --unconditional to start without one")
    return [text]


def read_text(path):
    """Read a UTF-8 file, or standard input if the path is "-", without the line end at its end.

    Raises:
        ValueError: the file cannot be read or is not UTF-8.
    """
    try:
        if path == "-":
            content = sys.stdin.buffer.read() if sys.stdin else b""
        else:
            content = Path(os.path.expanduser(path)).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: the byte at offset {error.start} is invalid") from None
    return text.replace("\r\n", "\n").removesuffix("\n")


def split_prompts(text, path):
    """Split a file into prompts: one per line, or the "prompt" of each JSON object if the file starts with {.

    Raises:
        ValueError: a line is not valid, or its prompt is empty. The message names the path and the line.
    """
    is_json_lines = text.lstrip().startswith("{")
    prompts = []
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        try:
            prompt = json.loads(line)["prompt"] if is_json_lines else line
            prompt.encode("utf-8")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with a text as "prompt"'
            ) from None
        if not prompt:
            raise ValueError(f"{path}, line {number}: the prompt is empty")
        prompts.append(prompt)
    return prompts
