"""What is wrong with what was typed, in the scripts that look inside."""

import pytest
from conftest import PROMPT

NAMES = ["attention.py", "logit_lens.py", "next_token.py", "rounding.py"]


@pytest.mark.parametrize("script", NAMES)
def test_a_text_longer_than_the_context_is_refused(run, tmp_path, script):
    status, stdout, stderr = run(script, "--model_size=demo", " king" * 300)
    assert (status, stdout) == (2, "")
    assert stderr == f"{script}: the text has 300 tokens, and this model can see 256 at most\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [*NAMES, "surprise.py", "tokens.py"])
def test_no_text_is_refused(run, script):
    status, stdout, stderr = run(script, "--model_size=demo")
    assert (status, stdout) == (2, "")
    assert stderr.count("\n") == 1


def test_a_layer_that_is_not_there_is_refused(run):
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--layer=6", PROMPT)
    assert (status, stdout, stderr) == (2, "", "attention.py: layer must be from 0 to 5, not 6\n")


def test_a_picture_is_a_png(run, tmp_path):
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--out=a.svg", PROMPT)
    assert (status, stdout, stderr) == (2, "", "attention.py: a.svg is not the name of a .png file\n")


def test_a_picture_that_cannot_be_written_is_one_line(run, tmp_path):
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--out=no/where.png", PROMPT)
    assert (status, stdout) == (2, "")
    assert stderr == "attention.py: there is no folder no to write where.png to\n"
    (tmp_path / "folder.png").mkdir()
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--out=folder.png", PROMPT)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
