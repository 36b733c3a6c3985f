"""The statistics and the progress bar on stderr."""

import contextlib
import io
import os
import re
import signal
import struct
import sys
import time

import pytest
from support.command_line import DEMO, PROMPT, read_terminal
from support.paths import posix

from cli.progress import progress_bar, write_above

with contextlib.suppress(ImportError):  # POSIX
    import fcntl
    import termios


def test_statistics_are_one_line(run, generated_text):
    start = time.monotonic()
    status, stdout, stderr = run(PROMPT, DEMO, "-n=25")
    total_seconds = time.monotonic() - start
    assert (status, stdout) == (0, generated_text(PROMPT, 25))
    n_tokens, seconds, rate = re.fullmatch(r"(\d+) tokens, ([\d.]+) s, ([\d.]+) tokens/s\n", stderr).groups()
    assert n_tokens == "25"
    assert 0 < float(seconds) < total_seconds
    assert float(rate) == pytest.approx(25 / float(seconds), rel=0.2)


def test_line_is_one_write(monkeypatch):
    """Ctrl-C between two writes would leave half a line."""
    writes = []

    class Stdout(io.StringIO):
        def write(self, text):
            writes.append(text)
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Stdout())
    with progress_bar(None, 1, is_quiet=True) as bar:
        write_above(bar, "a whole line")
    assert [text for text in writes if text] == ["a whole line\n"]


@posix
@pytest.mark.parametrize("arguments", [["--stream=False"], ["--n_samples=2"], ["--score"]], ids=str)
def test_bar_appears_after_two_seconds(start, endless_model, arguments):
    arguments = [*arguments, "--stride=1"] if arguments == ["--score"] else [*arguments, "-n=100000"]
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # lines and columns
    process = start(PROMPT * 1000, f"--model_size={endless_model}", *arguments, streams={"stderr": theirs})
    os.close(theirs)
    seen = read_terminal(ours, r"\d+/\d+ \[\d\d:\d\d<.*token/s\]")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in seen + read_terminal(ours)
    os.close(ours)
