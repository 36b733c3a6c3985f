"""Exit statuses and streams of real processes: full disks, closed pipes, Ctrl-C, narrow encodings."""

import signal
import sys
import time
import warnings
from pathlib import Path

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


@posix
def test_closed_pipe_exits_with_status_1(start):
    process = start(PROMPT, DEMO)
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert is_one_line(process.stderr.read())


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
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # run() replaces it
    with pytest.raises(expected) as raised:
        exit_status.run(main)
    assert expected is RuntimeError or raised.value.code == 130
    assert capsys.readouterr() == ("", "")


# Messages.


def test_messages_are_printable_and_short():
    """Names in untrusted files can contain terminal commands, and be long."""
    assert exit_status.as_one_line("a\x1b[31m\r\n\x07\x00é") == "a [31m    é"
    assert len(exit_status.as_one_line("a" * 10**6)) < 3000
