"""What the tests of the command line share: arguments, terminals, and readers of the output."""

import json
import os
import re
import select
import time

PROMPT = "Once upon a time"
DEMO = "--model_size=demo"
QUIET = "--quiet"
PROMPTS = [
    "Once upon a time",
    "The king",
    "A",
    'the king, who was "old"',
    "The king",
    "naïve 你好 🙂",
    "Then",
    "A",
    "x",
]
CONTEXT_IS_FULL = "gpt2.py: the context of 256 tokens is full: only its newest half is kept\n"


def is_one_line(stderr):
    """Is it one whole line, and no traceback?"""
    return stderr.endswith("\n") and stderr.count("\n") == 1 and "Traceback" not in stderr


def assert_error(result, status, *words):
    """Assert that a result of `run` is this exit status, no text, and one line on stderr with all words."""
    actual_status, stdout, stderr = result
    assert actual_status == status
    assert stdout == ""
    assert is_one_line(stderr)
    assert stderr.startswith("gpt2")
    for word in words:
        assert word in stderr


def json_lines(stdout):
    """Decode JSON lines. Only a newline ends a line: a text can contain U+2028, where splitlines() splits."""
    *lines, rest = stdout.split("\n")
    assert rest == ""
    return [json.loads(line) for line in lines]


def read_terminal(terminal, until=None, timeout=60):
    """Read the output of a terminal until the regular expression `until` matches, or until it closes."""
    seen = b""
    deadline = time.monotonic() + timeout
    while until is None or not re.search(until.encode(), seen):
        readable, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert readable, seen.decode(errors="replace")
        try:
            new = os.read(terminal, 10_000)
        except OSError:  # Linux reports a closed terminal as an error
            new = b""
        if not new:
            assert until is None, seen.decode(errors="replace")
            break
        seen += new
    return seen.decode(errors="replace").replace("\r\n", "\n")


def read_rest(process):
    """Wait for the process -> the rest of stdout, and stderr.

    After a read, `communicate` loses what the read had taken from the pipe in advance."""
    stdout, stderr = process.stdout.read(), process.stderr.read()
    process.wait(timeout=60)
    return stdout, stderr
