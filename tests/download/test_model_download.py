"""Download a whole model: files that are absent, wrong or too large, and disks that are full or read-only."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from support.downloads import check_files, finish, partial_files, range_starts, start_utils_py
from support.model_server import Fault
from support.paths import DATA_FILE, posix

from loading.model_folder import OPENAI_FILES
from loading.untrusted_files import MAX_SIZE
from utils import DEMO_DIR, find_model_dir


def test_all_files_are_downloaded_with_one_progress_bar(server, model_dir, download_124M, capsys):
    download_124M()
    check_files(model_dir)
    assert partial_files(model_dir) == []
    assert server.fetched == list(OPENAI_FILES)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "124M: 100%" in stderr
    assert "11.8M/11.8M" in stderr  # bytes of all files


def test_existing_files_are_not_downloaded_again(server, model_dir, download_124M):
    download_124M()
    (model_dir / "vocab.bpe").unlink()
    server.requests.clear()
    download_124M()
    assert server.fetched == ["vocab.bpe"]
    check_files(model_dir)


# Faults that persist.

PERSISTENT_FAULTS = {
    "404": (Fault("404"), "returned status 404 for http.*check that the model exists and is public"),
    "403": (Fault("403"), "returned status 403 for http"),
    "204": (Fault("204"), "returned status 204 for http"),
    "429": (Fault("429"), "returned status 429 for http"),
    "500": (Fault("500"), "returned status 500 for http"),
    "login page": (
        Fault("login page"),
        "returned a web page instead of .*; this network may require a login or a proxy",
    ),
    "disconnects": (Fault("disconnect", at=0), "the connection to 127.0.0.1:.* failed|was interrupted"),
    "stalls": (Fault("stall", at=0), "the connection to 127.0.0.1:.* failed|does not answer"),
    "disconnects, no Content-Length": (Fault("disconnect, no length", at=1000), "is discarded"),
    "wrong MD5": (Fault("wrong MD5"), "does not match the server's md5"),
}
FAULTY_FILES = [
    *((fault, DATA_FILE) for fault in PERSISTENT_FAULTS),
    *((fault, "vocab.bpe") for fault in ("404", "login page", "disconnects, no Content-Length", "wrong MD5")),
]


@pytest.mark.parametrize(("fault", "file"), FAULTY_FILES)
def test_persistent_faults_are_reported_and_leave_no_bad_file(server, model_dir, download_124M, fault, file):
    fault, message = PERSISTENT_FAULTS[fault]
    at = min(fault.at, (DEMO_DIR / file).stat().st_size // 2)
    server.faults[file] = [Fault(fault.kind, at=at)]
    with pytest.raises(OSError, match=message) as error:
        download_124M()
    assert "\n" not in str(error.value)
    check_files(model_dir, missing=OPENAI_FILES[OPENAI_FILES.index(file) :])
    server.faults.clear()
    download_124M()
    check_files(model_dir)


def test_small_files_have_a_maximum_size(server, download_124M, tmp_path):
    other = shutil.copytree(DEMO_DIR, tmp_path / "other")
    (other / "hparams.json").write_bytes(bytes(2 * MAX_SIZE))
    server.folders["124M"] = other
    with pytest.raises(OSError, match=r"hparams\.json exceeds \d+ bytes, the limit for this file"):
        download_124M()
    assert server.n_bytes_sent < 2 * MAX_SIZE


# Disks.


@posix
def test_a_full_disk_is_reported_and_the_partial_file_kept(start, server, tmp_path, model_dir):
    code = (
        "import resource, sys, utils; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000));"
        f"sys.argv = ['utils.py', '124M', '--mirror={server.url}', '--models_dir={tmp_path}'];"
        "from cli.exit_status import run; run(utils.main)"
    )
    status, stdout, stderr = finish(start(code=code, NO_PROXY="127.0.0.1"))
    assert (status, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert re.search(r"124M is not in .*File too large.*; to retry: --model_size=124M\n$", stderr)
    (partial,) = model_dir.glob("*.part")
    assert partial.stat().st_size == 6_000_000
    check_files(model_dir, [DATA_FILE])
    assert finish(start_utils_py(start, server, tmp_path))[0] == 0
    assert range_starts(server) == [0, 5_999_999]
    check_files(model_dir)


def test_insufficient_disk_space_is_reported_before_the_download(server, model_dir, download_124M):
    server.faults[DATA_FILE] = [Fault("huge length")]
    message = r"not enough disk space in .*124M: \d+ bytes needed, \d+ bytes free"
    with pytest.raises(OSError, match=message):
        download_124M()
    assert server.fetched == []
    assert not model_dir.exists()


@posix
def test_a_read_only_folder_is_reported(server, fast_retries):
    """Root can write anywhere, so the test runs as another user for a moment."""
    models_dir = Path(tempfile.mkdtemp())
    models_dir.chmod(0o555)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        with pytest.raises(FileNotFoundError, match=r"124M is not in .*: .*Permission denied: .*; to retry"):
            find_model_dir("124M", models_dir, server.url)
    finally:
        if is_root:
            os.seteuid(0)
        models_dir.rmdir()  # it is empty
    assert server.fetched == []
