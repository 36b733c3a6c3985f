"""The processes that compare.py starts. One that fails or hangs raises ChildProcessError."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen
from threading import Timer

from peers import PEERS

SCRIPTS = Path(__file__).resolve().parent
TIMEOUT_S = 180  # for one measurement; the slowest takes about 15 seconds
SETTLE_S = 0.3  # seconds between measurements, until idle threads of the last engine stop spinning


class Process:
    """A script of this folder. Leaving the context manager ends it."""

    def __init__(self, script, arguments, log, n_threads):
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        options = {"text": True, "env": os.environ | dict.fromkeys(variables, str(n_threads))}
        command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
        self.log = log
        with open(log, "w") as stderr:
            self.process = Popen(command, **options, stdin=PIPE, stdout=PIPE, stderr=stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def ask(self, request):
        """Send a request, a dict. Returns the answer."""
        with contextlib.suppress(BrokenPipeError):  # read_line reports the reason
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.read_line())

    def read_line(self):
        """Read a line of the output. Raises ChildProcessError if the process ends or hangs."""
        with self.time_limit():
            line = self.process.stdout.readline()
        if not line:
            raise self.error()
        return line

    def read_rest(self):
        """Read the output until the process ends. Raises ChildProcessError if it fails or hangs."""
        with self.time_limit():
            rest = self.process.stdout.read()
        if self.process.wait():
            raise self.error()
        return rest

    @contextlib.contextmanager
    def time_limit(self):
        timer = Timer(TIMEOUT_S, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def error(self):
        """The reason for the end of the process: its exit status and the last line of its log."""
        log = self.log.read_text(errors="replace").strip().splitlines()
        return ChildProcessError(f"exit status {self.process.wait()}: {''.join(log[-1:])}")


def run_script(script, arguments, log, n_threads):
    """Run a script. Returns its output. Raises ChildProcessError if it fails."""
    with Process(script, arguments, log, n_threads) as process:
        return process.read_rest()


class Engine:
    """An engine with its weights in its own format, and a process that has loaded them."""

    def __init__(self, name, model, folder, n_threads, stack):
        """Convert and load the model. Raises ChildProcessError.

        Args:
            folder: an empty folder.
            stack: the contextlib.ExitStack that ends the process.
        """
        self.name, self.folder, self.n_threads = name, folder, n_threads
        self.peer, self.precision = PEERS[name]
        self.arguments = [name, model, folder / "converted"]
        self.arguments[2].mkdir()
        run_script("conversion.py", self.arguments, folder / "conversion.txt", n_threads)
        process = Process("peers.py", self.arguments, folder / "log.txt", n_threads)
        self.process = stack.enter_context(process)
        self.process.read_line()

    def run(self, prompts, n_tokens=None, logits=None):
        """Decode a batch of equally long prompts, by default as in a measurement. See peers.py."""
        time.sleep(SETTLE_S)
        n_tokens = self.peer.n_tokens if n_tokens is None else n_tokens
        return self.process.ask({"prompts": prompts, "n_tokens": n_tokens, "logits": logits})

    def start(self, ids):
        """Load the model in a new process and read a prompt.

        Returns the seconds from the start of the process to the first token; the token; and the peak memory.
        """
        time.sleep(SETTLE_S)
        start = time.perf_counter()
        log = self.folder / "start.txt"
        with Process("peers.py", [*self.arguments, *ids], log, self.n_threads) as process:
            token_id = int(process.read_line())
            seconds = time.perf_counter() - start
            return seconds, token_id, float(process.read_rest())
