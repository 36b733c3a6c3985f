"""Downloads that are interrupted: by the connection, the server, a signal or a change of the file."""

import functools
import random
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from support.bundle_writer import write_bundle
from support.downloads import (
    DATA_SIZE,
    MODEL_SIZE,
    check_files,
    finish,
    partial_files,
    range_starts,
    start_utils_py,
)
from support.model_server import Fault
from support.paths import DATA_FILE, posix

from download.resumable_http import CHUNK_SIZE
from loading.tf_checkpoint import read_tf_checkpoint
from utils import DEMO_DIR

# Faults that pass, and properties of servers that do no harm.

TRANSIENT_FAULTS = {
    "disconnects once": Fault("disconnect", times=1, at=5_000_000),
    "disconnects again and again": Fault("disconnect", at=1_000_000),
    "disconnects before the first byte": Fault("disconnect", times=1, at=0),
    "stalls once": Fault("stall", times=1, at=5_000_000),
    "429 with Retry-After": Fault("429", times=1),
    "500 twice": Fault("500", times=2),
    "another ETag in each response": Fault("new ETag"),
}
UNUSUAL_SERVERS = {
    "no Content-Length": Fault("no length"),
    "invalid Content-Length": Fault("invalid length"),
    "no ranges": Fault("ignore range"),
    "gzip": Fault("gzip"),
    "a redirect": Fault("redirect"),
    "no HEAD": Fault("HEAD 405"),
}


@pytest.mark.parametrize("fault", TRANSIENT_FAULTS)
def test_transient_faults_are_retried(server, model_dir, download_124M, fault):
    server.faults[DATA_FILE] = [replace(TRANSIENT_FAULTS[fault])]
    download_124M()
    check_files(model_dir)
    assert partial_files(model_dir) == []


@pytest.mark.parametrize("fault", UNUSUAL_SERVERS)
def test_unusual_servers_are_supported(server, model_dir, download_124M, fault):
    server.faults[DATA_FILE] = [replace(UNUSUAL_SERVERS[fault])]
    download_124M()
    check_files(model_dir)
    assert partial_files(model_dir) == []


def test_an_interruption_loses_at_most_one_chunk(server, model_dir, download_124M):
    server.faults[DATA_FILE] = [Fault("disconnect", times=1, at=5_000_000)]
    download_124M()
    first, second = range_starts(server)
    assert first == 0
    assert 5_000_000 - CHUNK_SIZE <= second < 5_000_000


def test_a_download_without_progress_fails(server, model_dir, download_124M):
    """Each response ends at the same byte, and none of them can be resumed."""
    server.faults[DATA_FILE] = [Fault("disconnect, new ETag", at=1_000_000)]
    with pytest.raises(OSError, match=r"the connection to .* failed|was interrupted|has changed"):
        download_124M()
    assert len(range_starts(server)) < 12
    check_files(model_dir, [DATA_FILE])


# Partial files of an earlier run.


@pytest.fixture
def partial(server, model_dir, download_124M):
    """The partial file of a download that failed after about 8 of 11.7 MB."""
    server.faults[DATA_FILE] = [Fault("disconnect", times=1, at=8_000_000), Fault("500")]
    with pytest.raises(OSError, match="returned status 500"):
        download_124M()
    check_files(model_dir, [DATA_FILE])
    (partial,) = model_dir.glob("*.part")
    assert (DEMO_DIR / DATA_FILE).read_bytes().startswith(partial.read_bytes())
    assert 8_000_000 - CHUNK_SIZE <= partial.stat().st_size <= 8_000_000
    server.faults.clear()
    server.requests.clear()
    return partial


def test_the_next_run_resumes(server, model_dir, download_124M, partial):
    last_byte = partial.stat().st_size - 1
    download_124M()
    check_files(model_dir)
    assert range_starts(server) == [last_byte]


def test_a_complete_partial_file_is_not_downloaded_again(server, model_dir, download_124M, partial):
    """It remains if the process ends during the verification."""
    partial.write_bytes((DEMO_DIR / DATA_FILE).read_bytes())
    download_124M()
    check_files(model_dir)
    assert range_starts(server) == [DATA_SIZE - 1]


def test_a_new_version_is_downloaded_from_the_start(server, model_dir, download_124M, partial):
    server.etag_prefix = "new"
    download_124M()
    check_files(model_dir)
    assert len(range_starts(server)) == 2
    assert range_starts(server)[1] == 0
    assert partial_files(model_dir) == []


def test_a_response_with_the_wrong_range_is_discarded(server, model_dir, download_124M, partial):
    server.faults[DATA_FILE] = [Fault("wrong range", times=1)]
    download_124M()
    check_files(model_dir)
    assert len(range_starts(server)) == 2
    assert range_starts(server)[1] == 0


def test_a_server_without_ranges_restarts_the_download(server, model_dir, download_124M, partial):
    server.faults[DATA_FILE] = [Fault("ignore range", times=1)]
    last_byte = partial.stat().st_size - 1
    download_124M()
    check_files(model_dir)
    assert range_starts(server) == [last_byte]  # the response had all bytes


def test_a_file_that_became_shorter_is_downloaded_from_the_start(server, model_dir, download_124M, partial):
    partial.write_bytes(bytes(DATA_SIZE + 100))
    download_124M()
    check_files(model_dir)
    assert range_starts(server) == [DATA_SIZE + 99, 0]


def test_without_a_version_nothing_is_resumed(server, model_dir, download_124M):
    server.has_etag = False
    server.faults[DATA_FILE] = [Fault("disconnect", times=1, at=8_000_000)]
    download_124M()
    check_files(model_dir)
    assert range_starts(server) == [0, 0]


def test_a_partial_file_without_a_version_is_deleted_at_the_end(server, model_dir, download_124M):
    server.has_etag = False
    server.faults[DATA_FILE] = [Fault("disconnect", at=1_000_000)]
    with pytest.raises(OSError, match=r"failed|was interrupted"):
        download_124M()
    assert partial_files(model_dir) == [f"{DATA_FILE}.part"]
    server.has_etag = True
    server.faults.clear()
    download_124M()
    check_files(model_dir)
    assert partial_files(model_dir) == []


@pytest.mark.parametrize("has_md5", [True, False])
def test_a_corrupt_rest_is_discarded(server, model_dir, download_124M, partial, has_md5):
    server.has_md5 = has_md5
    server.faults[DATA_FILE] = [Fault("corrupt", times=1)]
    with pytest.raises(OSError, match="does not match its checksum"):
        download_124M()
    check_files(model_dir, [DATA_FILE])
    server.requests.clear()
    download_124M()
    check_files(model_dir)
    assert range_starts(server)[0] > 7_000_000  # the checksums of the tensors tell which bytes are good


def test_a_damaged_partial_file_is_kept_up_to_the_damage(server, model_dir, download_124M, partial):
    content = bytearray(partial.read_bytes())
    content[6_000_000] ^= 1
    partial.write_bytes(content)
    message = r"http://.*: tensor model/h\d.* does not match its checksum; the damaged part is discarded"
    with pytest.raises(OSError, match=message):
        download_124M()
    assert 5_000_000 < partial.stat().st_size <= 6_000_000
    download_124M()
    check_files(model_dir)


def test_new_weights_are_not_combined_with_the_old_index(server, model_dir, download_124M, partial, tmp_path):
    other = shutil.copytree(DEMO_DIR, tmp_path / "other")
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    write_bundle(other / "model.ckpt", {name: -value.astype(np.float16) for name, value in variables.items()})
    server.folders["124M"] = other
    message = r"does not match its checksum.*; if this persists, delete the folder .*124M"
    with pytest.raises(OSError, match=message):
        download_124M()
    check_files(model_dir, [DATA_FILE])
    shutil.rmtree(model_dir)
    download_124M()
    assert (model_dir / DATA_FILE).read_bytes() == (other / DATA_FILE).read_bytes()


# Signals.

KILL_POINTS = random.Random(0).sample(range(MODEL_SIZE), 30)  # numbers of bytes


@posix
@pytest.mark.parametrize("n_bytes", KILL_POINTS)
def test_a_killed_process_leaves_only_good_bytes(start, server, tmp_path, model_dir, n_bytes):
    process = start_utils_py(start, server, tmp_path)
    server.on_bytes_sent = lambda n_bytes_sent: n_bytes_sent >= n_bytes and process.kill()
    status, _, _ = finish(process)
    assert status == -signal.SIGKILL
    for path in model_dir.iterdir():
        if path.suffix == ".part":
            original = (DEMO_DIR / path.name.rsplit(".", 2)[0]).read_bytes()
            assert original.startswith(path.read_bytes())
        else:
            assert path.read_bytes() == (DEMO_DIR / path.name).read_bytes()
    server.on_bytes_sent = None
    status, _, stderr = finish(start_utils_py(start, server, tmp_path))
    assert status == 0, stderr
    check_files(model_dir)


@posix
def test_ctrl_c_keeps_the_partial_file(start, server, tmp_path, model_dir):
    process = start_utils_py(start, server, tmp_path)
    interrupt = functools.cache(lambda: process.send_signal(signal.SIGINT))  # once
    server.on_bytes_sent = lambda n_bytes_sent: n_bytes_sent > 6_000_000 and interrupt()
    status, stdout, stderr = finish(process)
    assert (status, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert len(partial_files(model_dir)) == 1
    server.on_bytes_sent = None
    server.requests.clear()
    assert finish(start_utils_py(start, server, tmp_path))[0] == 0
    assert range_starts(server)[0] > 0
    check_files(model_dir)
