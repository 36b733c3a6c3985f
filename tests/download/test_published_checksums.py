"""Files are compared with the published sizes and checksums."""

import shutil
from pathlib import Path

import pytest
from support.paths import DATA, files_in

from download import model_sources
from download.published_checksums import PUBLISHED, check_published
from loading.untrusted_files import CheckpointError
from utils import DEMO_DIR, find_model_dir, verify_files


@pytest.mark.parametrize("file", ["encoder.json", "vocab.bpe"])
def test_one_changed_bit_in_a_published_file_is_detected(tmp_path, file):
    path = Path(shutil.copy(DATA / "gpt2" / file, tmp_path))
    check_published(file, path, PUBLISHED["124M"][file])
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    message = rf"{file} has SHA-256 \w+, expected \w+; .* this file is probably wrong; --mirror"
    with pytest.raises(CheckpointError, match=message):
        check_published(file, path, PUBLISHED["124M"][file])


def test_files_that_differ_from_the_published_ones_are_not_downloaded(server, tmp_path, monkeypatch):
    monkeypatch.setattr(model_sources, "OPENAI_URL", server.url)
    message = (
        r"hparams\.json has 73 bytes, expected 90; only one source publishes this value, so it may be wrong"
    )
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("124M", tmp_path)
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    (tmp_path / "124M" / "encoder.json").unlink()
    size = (DEMO_DIR / "encoder.json").stat().st_size
    message = rf"encoder\.json has {size} bytes, expected 1042301; .* this file is probably wrong"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("124M", tmp_path)
    assert "encoder.json" not in files_in(tmp_path / "124M")


def test_verification_compares_with_the_published_sizes(tmp_path):
    shutil.copytree(DEMO_DIR, tmp_path / "124M")
    with pytest.raises(CheckpointError, match=r"hparams\.json has 73 bytes, expected 90"):
        list(verify_files(tmp_path / "124M", PUBLISHED["124M"]))
