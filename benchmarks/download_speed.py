"""Measure the download and the verification of a model of 124M's size, from a server on this machine.

    pip install -r requirements-dev.txt && python benchmarks/download_speed.py

Prints a table.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from random_model import ROOT, write_random_model  # puts the project and tests/ on sys.path
from support.model_server import ModelServer
from support.paths import DATA_FILE
from tqdm import tqdm

from download.http_session import new_session
from download.published_checksums import hash_file
from download.resumable_http import fetch
from loading.crc32c import crc32c


def time_python(*arguments, **environment):
    """Run `python` with these arguments -> seconds. Exits if it fails."""
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    if process.returncode:
        sys.exit(process.stderr)
    return time.perf_counter() - start


def time_call(function, *arguments):
    """Call a function -> seconds."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main():
    with tempfile.TemporaryDirectory() as temporary_dir:
        folder = Path(temporary_dir)
        served, models_dir = folder / "served", folder / "models"
        served.mkdir()
        write_random_model(served)
        data = served / DATA_FILE
        n_bytes = data.stat().st_size
        utils_py = ("utils.py", "124M", f"--models_dir={models_dir}")
        gpt2_py = ("gpt2.py", "--model_size=124M", f"--models_dir={models_dir}", "Once upon a time")

        with ModelServer({"124M": served}) as server, new_session() as session:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            mirror = f"--mirror={server.url}"
            session.trust_env = False  # no proxy
            url, bar = f"{server.url}/124M/{DATA_FILE}", tqdm(disable=True)
            rows = {
                "python utils.py 124M: start, download, verification, .ordered file": time_python(
                    *utils_py, mirror, NO_PROXY="127.0.0.1"
                ),
                "download alone": time_call(fetch, session, url, folder / "alone", bar),
            }
            server.shutdown()
        rows |= {
            "python utils.py 124M --verify: start, all checksums": time_python(*utils_py, mirror, "--verify"),
            "python gpt2.py: second run, offline, 40 tokens": time_python(*gpt2_py),
            "CRC-32C of the data, NumPy": time_call(crc32c, data.read_bytes()),
            "MD5 of the data, OpenSSL": time_call(hash_file, data, "md5"),
            "SHA-256 of the data, OpenSSL": time_call(hash_file, data, "sha256"),
            "copy of the data on this disk": time_call(shutil.copyfile, data, folder / "copy"),
        }

    print(f"| {n_bytes / 1e6:.0f} MB of data | s | MB/s |\n|---|--:|--:|")
    for name, seconds in rows.items():
        print(f"| {name} | {seconds:.2f} | {n_bytes / 1e6 / seconds:.0f} |")


if __name__ == "__main__":
    main()
