"""Folders, files and marks that the tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
DATA = ROOT / "tests" / "data"
HUB_MODEL = DATA / "hub" / "sharded"
DATA_FILE = "model.ckpt.data-00000-of-00001"

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, limits or terminals")


def files_in(folder):
    """The names of the files in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
