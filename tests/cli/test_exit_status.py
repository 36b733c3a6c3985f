"""Exit statuses and streams of real processes: full disks, closed pipes, Ctrl-C, narrow encodings."""

import errno
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.command_line import DEMO, PROMPT, QUIET, is_one_line
from support.model_server import Fault
from support.paths import ROOT, posix
from tqdm import tqdm

from cli import exit_status

# Encodings.


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_characters_outside_the_encoding_are_replaced(start, encoding):
    code = "from cli.exit_status import run; run(lambda prompt: print(prompt))"
    process = start("café 你好", code=code, PYTHONIOENCODING=encoding)
    process.stdout.reconfigure(encoding=encoding)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == "café 你好".encode(encoding, "replace").decode(encoding) + "\n"


@posix
def test_ascii_locale(run, generated_text):
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert run(PROMPT, DEMO, QUIET, **variables) == (0, generated_text(PROMPT), "")


# Streams that cannot be written.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_exits_with_status_1(start):
    with open("/dev/full", "w") as full:
        process = start(PROMPT, DEMO, streams={"stdout": full})
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert is_one_line(stderr)
    assert "No space left" in stderr


@pytest.fixture
def closed_pipe():
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@posix
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("gpt2.py", [PROMPT, DEMO]),
        ("gpt2.py", [PROMPT, DEMO, "--stream=False"]),
        ("gpt2.py", [PROMPT, DEMO, "--score"]),
        ("gpt2.py", [PROMPT, DEMO, "--n_samples=2"]),
        ("gpt2_pico.py", [PROMPT, DEMO]),
        ("utils.py", ["demo", "--verify"]),
    ],
)
def test_closed_pipe_ends_silently_with_status_1(start, closed_pipe, script, arguments):
    """PYTHONDEVMODE also reports errors in destructors."""
    process = start(*arguments, script=script, streams={"stdout": closed_pipe}, PYTHONDEVMODE="1")
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 1


@posix
def test_pipe_that_closes_after_the_first_line_ends_silently(start, tmp_path):
    """As `| head -1`."""
    (tmp_path / "prompts").write_text("The king\n" * 1000)
    process = start("--prompts_file=prompts", DEMO, PYTHONDEVMODE="1")
    assert process.stdout.readline().startswith('{"prompt": "The king"')
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 1


@posix
@pytest.mark.parametrize(("size", "status"), [("demo", 1), ("125M", 2)])
def test_closed_stderr_keeps_the_exit_status(start, closed_pipe, size, status):
    """As `2>&1 | head -1`."""
    streams = {"stdout": closed_pipe, "stderr": closed_pipe}
    assert start(PROMPT, f"--model_size={size}", streams=streams).wait(timeout=60) == status


@pytest.mark.parametrize(
    ("platform", "path", "expected"), [("nt", None, 1), ("nt", "a?", 0), ("posix", None, 0)]
)
def test_windows_reports_a_closed_pipe_as_einval(monkeypatch, platform, path, expected):
    monkeypatch.setattr(exit_status, "os", SimpleNamespace(name=platform))
    error = OSError(errno.EINVAL, "Invalid argument")
    error.filename = path
    assert exit_status.is_closed_pipe(error) == expected


@posix
@pytest.mark.parametrize(("closed", "status"), [(1, 0), (2, 2)])
def test_closed_stdout_or_stderr_stays_silent(run, closed, status):
    """As `>&-` or `2>&-` in a shell. Nothing moves to the other stream."""
    size = "demo" if status == 0 else "125M"
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    arguments = (str(ROOT / "gpt2.py"), PROMPT, QUIET, f"--model_size={size}")
    assert run(*arguments, code=code) == (status, "", "")


# Ctrl-C.


@posix
def test_ctrl_c_while_connecting_exits_with_status_130(start, tmp_path, silent_listener):
    proxy = f"http://127.0.0.1:{silent_listener.getsockname()[1]}"
    process = start(PROMPT, f"--models_dir={tmp_path}", proxy=proxy)
    connection, _ = silent_listener.accept()  # now the process waits for an answer
    with connection:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@posix
def test_ctrl_c_during_a_download_exits_with_status_130(start, tmp_path, server):
    server.faults["vocab.bpe"] = [Fault("stall", at=1000)]
    process = start(PROMPT, f"--models_dir={tmp_path}", GPT2_MIRROR=server.url, NO_PROXY="127.0.0.1")
    while "vocab.bpe" not in server.fetched:
        time.sleep(0.1)
    time.sleep(0.5)  # old versions of tqdm complain if Ctrl-C interrupts their first bar
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    files = sorted(path.name for path in (tmp_path / "124M").iterdir() if path.suffix != ".part")
    assert files == ["encoder.json", "hparams.json"]


@pytest.mark.parametrize(("first", "expected"), [(KeyboardInterrupt, SystemExit), (ValueError, RuntimeError)])
def test_ctrl_c_while_tqdm_acquires_its_lock_exits_with_status_130(monkeypatch, capsys, first, expected):
    """tqdm then releases a lock that it does not hold: RuntimeError. Without Ctrl-C, that is a bug."""

    def main(prompt: str = None):
        try:
            raise first
        finally:
            tqdm.get_lock().release()  # RuntimeError

    monkeypatch.setattr(sys, "argv", ["gpt2.py"])
    with pytest.raises(expected) as raised:
        exit_status.run(main)
    assert expected is RuntimeError or raised.value.code == 130
    assert capsys.readouterr() == ("", "")


# Messages.


def test_messages_are_printable_and_short():
    """Names in untrusted files can contain terminal commands, and be long."""
    assert exit_status.as_one_line("a\x1b[31m\r\n\x07\x00é") == "a [31m    é"
    assert len(exit_status.as_one_line("a" * 10**6)) < 3000
