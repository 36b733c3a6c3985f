"""The cache of the hub's own tools: a complete model is used from there, and nothing is written there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.downloads import HUB_FILES
from support.model_server import COMMIT
from support.paths import HUB_MODEL, files_in, posix

from download.hub_cache import find_in_cache
from loading import weight_order
from utils import find_model_dir, load_encoder_hparams_and_params

OTHER_COMMIT = "f" * 40
FILL_CACHE = """
import sys
from huggingface_hub import hf_hub_download
name, revision, *files = sys.argv[1:]
for file in files:
    hf_hub_download(name, file, revision=revision)
"""


def write_cache(hub_home, name="OWNER--NAME", revision="main", commit=COMMIT, is_linked=False):
    """Write what the hub's tools write, with real files as on Windows, or with links -> the snapshot."""
    cached = hub_home / "hub" / f"models--{name}"
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    (cached / "blobs").mkdir(exist_ok=True)
    for file in HUB_FILES:
        if is_linked:
            shutil.copy(HUB_MODEL / file, cached / "blobs" / file)
            (snapshot / file).symlink_to(Path("..", "..", "blobs", file))
        else:
            shutil.copy(HUB_MODEL / file, snapshot)
    if revision != commit:
        (cached / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
        (cached / "refs" / revision).write_text(commit)
    return snapshot


def state_of(folder):
    """All files in a folder, with their contents and modification times."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in paths]


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "0123abc", COMMIT])
def test_a_model_that_huggingface_hub_has_downloaded_is_used(hub, hub_home, tmp_path, revision):
    pytest.importorskip("huggingface_hub")
    hub.folders[f"OWNER/NAME@{revision}"] = HUB_MODEL
    hub.cdn_url = hub.url.replace("127.0.0.1", "localhost")
    command = [sys.executable, "-W", "ignore", "-c", FILL_CACHE, "OWNER/NAME", revision, *HUB_FILES]
    subprocess.run(command, check=True, capture_output=True)
    hub.requests.clear()
    folder = find_model_dir(f"hf:OWNER/NAME@{revision}", tmp_path, offline=True)
    assert folder == hub_home / "hub" / "models--OWNER--NAME" / "snapshots" / COMMIT
    assert files_in(folder) == HUB_FILES
    assert hub.requests == []
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("is_linked", [False, pytest.param(True, marks=posix)])
def test_nothing_is_written_into_the_cache(hub_home, tmp_path, monkeypatch, is_linked):
    """As for a large model, whose weights have an .ordered file beside them elsewhere."""
    monkeypatch.setattr(weight_order, "MIN_SIZE", 0)
    write_cache(hub_home, is_linked=is_linked)
    before = state_of(hub_home)
    load_encoder_hparams_and_params("hf:OWNER/NAME", tmp_path, offline=True)
    assert state_of(hub_home) == before


def test_another_revision_in_the_cache_is_not_used(hub, hub_home, tmp_path):
    write_cache(hub_home, revision="v1", commit=OTHER_COMMIT)
    assert find_in_cache("hf:OWNER/NAME") is None
    assert find_in_cache("hf:OWNER/NAME@v2") is None
    assert find_in_cache(f"hf:OWNER/NAME@{COMMIT}") is None
    assert find_in_cache("hf:NAME@v1") is None
    assert find_in_cache("hf:OWNER/NAME@v1").name == OTHER_COMMIT
    assert find_model_dir("hf:OWNER/NAME", tmp_path).parent == tmp_path


def test_models_dir_is_preferred_to_the_cache(hub, hub_home, tmp_path):
    folder = find_model_dir("hf:OWNER/NAME", tmp_path)
    write_cache(hub_home)
    assert find_model_dir("hf:OWNER/NAME", tmp_path) == folder


@pytest.mark.parametrize("name", ["openai-community--gpt2-medium", "gpt2-medium"])
def test_the_models_of_openai_are_found_in_the_cache(no_network, hub_home, tmp_path, name):
    snapshot = write_cache(hub_home, name)
    assert find_model_dir("355M", tmp_path) == snapshot
    with pytest.raises(FileNotFoundError, match="774M is not in"):
        find_model_dir("774M", tmp_path)


# Caches that cannot be used: the model is downloaded.


def remove_a_shard(snapshot):
    (snapshot / HUB_FILES[2]).unlink()


def break_a_link(snapshot):
    remove_a_shard(snapshot)
    (snapshot / HUB_FILES[2]).symlink_to(snapshot / "absent")


def loop_a_link(snapshot):
    remove_a_shard(snapshot)
    (snapshot / HUB_FILES[2]).symlink_to(snapshot / HUB_FILES[2])


def replace_a_file_by_a_folder(snapshot):
    remove_a_shard(snapshot)
    (snapshot / HUB_FILES[2]).mkdir()


def damage_the_index(snapshot):
    (snapshot / "model.safetensors.index.json").write_bytes(b"\xff")


def remove_the_ref(snapshot):
    ref_of(snapshot).unlink()


def ref_of(snapshot):
    return snapshot.parents[1] / "refs" / "main"


def write_ref(content):
    return lambda snapshot: ref_of(snapshot).write_bytes(content)


def make_the_ref_a_folder(snapshot):
    remove_the_ref(snapshot)
    ref_of(snapshot).mkdir()


def replace_the_snapshots_by_a_file(snapshot):
    shutil.rmtree(snapshot.parent)
    snapshot.parent.write_text("")


DAMAGES = [
    remove_a_shard,
    pytest.param(break_a_link, marks=posix),
    pytest.param(loop_a_link, marks=posix),
    replace_a_file_by_a_folder,
    damage_the_index,
    remove_the_ref,
    write_ref(b""),
    write_ref(b"../../etc"),
    write_ref(b"\xff\x00" * 20),
    write_ref(b"0" * 10_000_000),
    write_ref(OTHER_COMMIT.encode()),
    make_the_ref_a_folder,
    replace_the_snapshots_by_a_file,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_ignored(hub, hub_home, tmp_path, damage):
    damage(write_cache(hub_home))
    folder = find_model_dir("hf:OWNER/NAME", tmp_path)
    assert folder == tmp_path / "hf--OWNER--NAME"
    assert files_in(folder) == HUB_FILES


@posix
@pytest.mark.parametrize("path", ["", "REPO", "REPO/refs/main", f"REPO/snapshots/{COMMIT}/config.json"])
def test_a_cache_that_cannot_be_read_is_ignored(hub_home, path):
    """Root can read anything, so the test runs as another user for a moment."""
    write_cache(hub_home)
    unreadable = hub_home / path.replace("REPO", "hub/models--OWNER--NAME")
    is_root = os.geteuid() == 0
    unreadable.chmod(0)
    try:
        if is_root:
            os.seteuid(65534)
        assert find_in_cache("hf:OWNER/NAME") is None
    finally:
        if is_root:
            os.seteuid(0)
        unreadable.chmod(0o700)
    assert find_in_cache("hf:OWNER/NAME") is not None
