"""The first contact with servers: busy, slow and absent ones, and what their HEAD responses say."""

import pytest
from support.downloads import HUB_FILES, check_files
from support.model_server import Fault
from support.paths import DATA_FILE, HUB_MODEL, files_in

from download import http_probe
from download.model_download import download_model
from loading.model_folder import OPENAI_FILES
from utils import find_model_dir

BUSY = {"HEAD 429": "returned status 429 for http", "HEAD 503": "returned status 503 for http"}


def n_probes(server, file):
    """The number of HEAD requests for a file."""
    return sum((command, name) == ("HEAD", file) for command, name, _ in server.requests)


@pytest.mark.parametrize("fault", BUSY)
def test_a_busy_server_is_probed_twice(server, model_dir, download_124M, fault):
    server.faults["hparams.json"] = [Fault(fault, times=1)]
    download_124M()
    check_files(model_dir)
    assert n_probes(server, "hparams.json") == 3  # two to choose the server, one for the size of the file


@pytest.mark.parametrize("fault", BUSY)
def test_a_server_that_stays_busy_is_replaced_by_the_next_source(server, model_dir, download_124M, fault):
    server.faults["hparams.json"] = [Fault(fault)]
    with pytest.raises(OSError, match=BUSY[fault]):  # there is no other source yet
        download_124M()
    assert n_probes(server, "hparams.json") == 2
    assert server.fetched == []
    assert not model_dir.exists()
    server.folders["openai-community/gpt2"] = HUB_MODEL
    download_124M()
    assert files_in(model_dir) == HUB_FILES


@pytest.mark.parametrize("fault", BUSY)
def test_an_optional_file_is_not_skipped_if_the_server_is_busy(server, tmp_path, fault):
    """Without its generation_config.json, a model may end its texts with another token."""
    server.faults["generation_config.json"] = [Fault(fault)]
    with pytest.raises(FileNotFoundError, match=BUSY[fault]):
        find_model_dir("hf:OWNER/NAME", tmp_path, server.url)
    assert server.fetched == []


def test_a_response_that_never_ends_times_out(server, model_dir, download_124M, monkeypatch):
    """Each byte arrives within the timeout of requests, but the response never ends."""
    monkeypatch.setattr(http_probe, "PROBE_TIMEOUT", 0.5)
    server.faults[OPENAI_FILES[0]] = [Fault("trickle")]
    with pytest.raises(OSError, match="does not answer"):
        download_124M()
    assert not model_dir.exists()


def test_a_refused_connection_is_reported(dead_address, model_dir, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(OSError, match=r"the connection to 127\.0\.0\.1:.* failed"):
        download_model("124M", model_dir, dead_address)
    assert not model_dir.exists()


def test_the_MD5_from_HEAD_is_ignored_if_GET_returns_another_version(server, model_dir, download_124M):
    server.has_md5 = False  # otherwise the MD5 from GET replaces the one from HEAD
    server.faults[DATA_FILE] = [Fault("HEAD of another version", times=1)]
    download_124M()
    check_files(model_dir)


def test_the_size_from_HEAD_detects_a_truncated_file(server, tmp_path, fast_retries):
    """Half of a merges.txt is a valid merges.txt, and this GET response does not have a Content-Length."""
    server.folders["OWNER/OTHER"] = HUB_MODEL.with_name("float32")
    server.faults["merges.txt"] = [Fault("disconnect, no length", times=1, at=108)]
    with pytest.raises(FileNotFoundError, match=r"merges\.txt: received 108 bytes, expected \d+"):
        find_model_dir("hf:OWNER/OTHER", tmp_path, server.url)
    assert find_model_dir("hf:OWNER/OTHER", tmp_path, server.url)
