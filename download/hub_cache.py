"""Find a model in the cache of the Hugging Face hub's own tools. Nothing is written there.

    models--OWNER--NAME/refs/REVISION        the commit of a branch or tag, as text
    models--OWNER--NAME/snapshots/COMMIT/    the files: links to ../../blobs/, or real files on Windows

Format: the documentation of huggingface_hub, page "Understand caching".
"""

import re

from download.hub_names import HUB_NAMES, split_hub_name
from download.hub_settings import hub_cache_dir
from loading.model_folder import missing_files, model_files
from loading.untrusted_files import CheckpointError

COMMIT = "[0-9a-f]{40}"
MAX_REF_SIZE = 100  # bytes


def find_in_cache(model):
    """The folder of a complete and readable model in the cache, or None."""
    name, revision = split_hub_name(model)
    names = [name]
    if model in HUB_NAMES:
        names.append(name.removeprefix("openai-community/"))  # its name before the hub had owners
    for name in names:
        cached = hub_cache_dir() / "--".join(["models", *name.split("/")])
        commit = revision if re.fullmatch(COMMIT, revision) else read_ref(cached / "refs" / revision)
        folder = cached / "snapshots" / commit
        if commit and is_complete(folder):
            return folder
    return None


def read_ref(path):
    """Read the commit in a file under refs/ -> commit, or "" if the file is absent or damaged."""
    try:
        with open(path, "rb") as file:
            commit = file.read(MAX_REF_SIZE).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return commit if re.fullmatch(COMMIT, commit) else ""


def is_complete(folder):
    """Whether a folder has all files of a model, and this user can read them."""
    try:
        if missing_files(folder):
            return False
        for file in model_files(folder):
            open(folder / file, "rb").close()
    except (OSError, CheckpointError):  # CheckpointError: a damaged index of shards
        return False
    return True
