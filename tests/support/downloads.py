"""Checks of downloads: files on disk, requests to the server, and `python utils.py` as a process."""

from loading.model_folder import OPENAI_FILES
from support.paths import DATA_FILE, HUB_MODEL, files_in
from utils import DEMO_DIR

DATA_SIZE = (DEMO_DIR / DATA_FILE).stat().st_size
MODEL_SIZE = sum((DEMO_DIR / file).stat().st_size for file in OPENAI_FILES)
HUB_FILES = [file for file in files_in(HUB_MODEL) if file != "expected.json"]


def partial_files(folder):
    """The names of the partial files in a folder, sorted."""
    return [name for name in files_in(folder) if name.endswith(".part")]


def check_files(folder, missing=()):
    """Check that the final files are those of the demo model, except `missing`, and that no lock is left."""
    names = set(files_in(folder)) - set(partial_files(folder))
    assert names == set(OPENAI_FILES) - set(missing)
    for name in names:
        assert (folder / name).read_bytes() == (DEMO_DIR / name).read_bytes(), name
    assert not folder.with_name(f"{folder.name}.lock").exists()


def range_starts(server):
    """The first byte of each GET request for the data."""
    return [start for command, file, start in server.requests if (command, file) == ("GET", DATA_FILE)]


def start_utils_py(start, server, models_dir, *arguments):
    """Start `python utils.py 124M` with the server as the mirror -> Popen."""
    place = (f"--mirror={server.url}", f"--models_dir={models_dir}")
    return start("124M", *place, *arguments, script="utils.py", NO_PROXY="127.0.0.1")


def finish(process):
    """Wait for a process -> (exit status, stdout, stderr)."""
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr
