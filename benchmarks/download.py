"""Downloading and checking a model of 124M's shapes, from a server on this machine. Prints a table.

pip install -r requirements-dev.txt && python benchmarks/download.py
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from random_model import ROOT, write_random_model
from tqdm import tqdm

sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from model_server import ModelServer  # noqa: E402

from crc32c import crc32c  # noqa: E402
from download import fetch, hash_file, new_session  # noqa: E402


def python(*arguments, **environment):
    """Run `python` with these arguments, to a good end -> seconds."""
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    if process.returncode:
        sys.exit(process.stderr)
    return time.perf_counter() - start


def main():
    with tempfile.TemporaryDirectory() as folder:
        served, models_dir = Path(folder) / "served", Path(folder) / "models"
        served.mkdir()
        write_random_model(served)
        data = served / "model.ckpt.data-00000-of-00001"
        n_bytes = data.stat().st_size
        rows = []

        server = ModelServer({"124M": served})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = ["124M", f"--models_dir={models_dir}", f"--mirror={server.url}"]
        seconds = python("utils.py", *place, NO_PROXY="127.0.0.1")
        rows.append(("python utils.py 124M: start, download, checks, ordered copy", seconds))
        start = time.perf_counter()
        with new_session() as session:
            session.trust_env = False  # no proxy
            fetch(session, f"{server.url}/124M/{data.name}", Path(folder) / "alone", tqdm(disable=True))
        rows.append(("the download alone, from this machine", time.perf_counter() - start))
        server.shutdown()
        server.server_close()

        verifying = python("utils.py", *place, "--verify")
        rows.append(("python utils.py 124M --verify: start, all checksums", verifying))
        seconds = python("gpt2.py", "--model_size=124M", f"--models_dir={models_dir}", "Once upon a time")
        rows.append(("python gpt2.py: the second run, without a server, 40 tokens", seconds))

        start = time.perf_counter()
        crc32c(data.read_bytes())
        rows.append(("crc32c of the data, NumPy", time.perf_counter() - start))
        for name in ("md5", "sha256"):
            start = time.perf_counter()
            hash_file(data, name)
            rows.append((f"{name} of the data, OpenSSL", time.perf_counter() - start))
        start = time.perf_counter()
        shutil.copyfile(data, Path(folder) / "copy")
        rows.append(("copying the data on this disk", time.perf_counter() - start))

    print(f"| {n_bytes / 1e6:.0f} MB of data | s | MB/s |\n|---|--:|--:|")
    for what, seconds in rows:
        print(f"| {what} | {seconds:.2f} | {n_bytes / 1e6 / seconds:.0f} |")


if __name__ == "__main__":
    main()
