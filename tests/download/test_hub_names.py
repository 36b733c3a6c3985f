"""Names of revisions: which are valid, and the folder of each."""

import re
import shutil
import subprocess

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from download.hub_names import check_revision, folder_name, split_hub_name

VALID = ["main", "v1.0", "refs/pr/1", "a/b", "release_2-x+y", "0123abc", "é", "a@b", "a#b%c"]
INVALID = ["", "..", "../x", "a/../b", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a b", "a\\b", "a:b"]
INVALID += ["a~1", "a^", "a?", "a*", "a[b", "@", "a@{b", "a\nb", "a\0b", "\ud800"]
revisions = st.text("aZ0.-_+/@{~^:?*[\\ lock\té", max_size=8)


def is_valid(revision):
    try:
        check_revision(revision)
    except ValueError as error:
        assert "is not the name of a branch, tag or commit" in str(error)
        return False
    return True


@pytest.mark.parametrize("revision", VALID)
def test_revisions_are_accepted(revision):
    assert is_valid(revision)


@pytest.mark.parametrize("revision", INVALID)
def test_invalid_revisions_are_rejected(revision):
    assert not is_valid(revision)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@given(revisions)
@example("a.lock/b")
@example("a..b")
def test_a_revision_is_valid_if_git_says_so(revision):
    """With a prefix, because git would read - as a flag."""
    assume(revision != "@")
    command = ["git", "check-ref-format", f"tags/{revision}"]
    assert is_valid(revision) == (subprocess.run(command).returncode == 0)


def test_names_without_a_revision_keep_their_folder():
    assert folder_name("124M") == "124M"
    assert folder_name("hf:gpt2") == "hf--gpt2"
    assert folder_name("hf:OWNER/NAME") == folder_name("hf:OWNER/NAME@main") == "hf--OWNER--NAME"


@given(st.lists(revisions, min_size=2, max_size=2, unique=True))
@example(["a/b", "a--b"])
@example(["a/b", "a-b"])
@example(["V1", "v1"])
@example(["x" * 200, "x" * 201])
def test_two_revisions_never_share_a_folder(pair):
    """Windows and Mac do not distinguish upper and lower case."""
    first, second = (folder_name(f"hf:OWNER/NAME@{revision or 'main'}").lower() for revision in pair)
    assert first != second


@given(revisions)
def test_a_folder_has_a_name_that_every_system_allows(revision):
    name = folder_name(f"hf:OWNER/NAME@{revision}")
    assert re.fullmatch(r"hf--OWNER--NAME(@[\w.-]{1,40}-[0-9a-f]{16})?", name, re.ASCII)


def test_a_name_is_split():
    assert split_hub_name("hf:OWNER/NAME") == ("OWNER/NAME", "main")
    assert split_hub_name("hf:OWNER/NAME@refs/pr/1") == ("OWNER/NAME", "refs/pr/1")
    assert split_hub_name("hf:NAME@a@b") == ("NAME", "a@b")
    assert split_hub_name("124M") == ("openai-community/gpt2", "main")
