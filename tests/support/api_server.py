"""Run experiments/serve.py in a process."""

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import NamedTuple

from support.paths import EXPERIMENTS


class Server(NamedTuple):
    """A running server: its address, and its process."""

    url: str
    process: subprocess.Popen


@contextmanager
def running_server(*arguments, model_size="demo", **changes):
    """Run `python experiments/serve.py` on a free port. changes: environment variables. Yields a Server.

    Its stderr becomes its stdout.
    """
    script = [sys.executable, str(EXPERIMENTS / "serve.py")]
    process = subprocess.Popen(
        [*script, f"--model_size={model_size}", "--port=0", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **changes},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    try:
        yield Server(process.stdout.readline().strip(), process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
