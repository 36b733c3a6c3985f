"""Bad arguments of the scripts that show the inside of the model are one-line errors."""

import pytest
from support.experiment_helpers import PROMPT

SCRIPTS = ["attention.py", "logit_lens.py", "next_token.py", "rounding.py"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_text_longer_than_the_context_is_rejected(run_experiment, tmp_path, script):
    status, stdout, stderr = run_experiment(script, "--model_size=demo", " king" * 300)
    assert (status, stdout) == (2, "")
    assert stderr == f"{script}: the text has 300 tokens, but the context of this model is 256\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [*SCRIPTS, "surprise.py", "tokens.py"])
def test_missing_text_is_rejected(run_experiment, script):
    status, stdout, stderr = run_experiment(script, "--model_size=demo")
    assert (status, stdout) == (2, "")
    assert stderr.count("\n") == 1


def test_layer_out_of_range_is_rejected(run_experiment):
    result = run_experiment("attention.py", "--model_size=demo", "--layer=6", PROMPT)
    assert result == (2, "", "attention.py: layer must be from 0 to 5, not 6\n")


def test_picture_must_be_a_png(run_experiment):
    result = run_experiment("attention.py", "--model_size=demo", "--out=a.svg", PROMPT)
    assert result == (2, "", "attention.py: the name of the picture must end in .png, not a.svg\n")


def test_picture_that_cannot_be_written_is_a_one_line_error(run_experiment, tmp_path):
    status, stdout, stderr = run_experiment("attention.py", "--model_size=demo", "--out=no/where.png", PROMPT)
    assert (status, stdout) == (2, "")
    assert stderr == "attention.py: cannot write where.png: there is no folder no\n"
    (tmp_path / "folder.png").mkdir()
    status, stdout, stderr = run_experiment("attention.py", "--model_size=demo", "--out=folder.png", PROMPT)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
