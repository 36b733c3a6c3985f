"""experiments/README.md is true: its commands print what it says they print, and all scripts are in it."""

import itertools
import math
import re
import shlex
import subprocess
import sys

import pytest
from conftest import EXPERIMENTS, ROOT

README = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
NUMBER = r"-?\d+\.\d+(?:e[-+]\d+)?"


def commands_with(next_kind):
    return [
        (code, text)
        for (kind, code), (following, text) in itertools.pairwise([*BLOCKS, ("", "")])
        if kind == "sh" and following == next_kind
    ]


@pytest.mark.parametrize(("command", "output"), commands_with("text"))
def test_commands_print_what_is_shown(command, output):
    """Rounding differs between processors: numbers may be a little off, and errors of rounding threefold."""
    python, *arguments = shlex.split(command.partition("#")[0])
    assert python == "python"
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert re.sub(NUMBER, "#", done.stdout).split() == re.sub(NUMBER, "#", output).split()
    for shown, printed in zip(re.findall(NUMBER, output), re.findall(NUMBER, done.stdout), strict=True):
        if "e-" in shown:
            assert abs(math.log10(float(shown) / float(printed))) < 0.5
        else:
            assert float(shown) == pytest.approx(float(printed), rel=1e-3)


def test_there_are_as_many_of_them_as_there_should_be():
    assert len(commands_with("text")) == 5


def test_every_script_has_its_place():
    scripts = {path.name for path in EXPERIMENTS.glob("*.py")} - {"common.py"}
    assert set(re.findall(r"\]\((\w+\.py)\)", README)) == scripts
    gallery = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(experiments/(\w+\.py)\)", gallery)) == scripts


def test_every_file_it_links_to_is_there():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (EXPERIMENTS / link).exists(), link
