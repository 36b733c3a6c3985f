"""experiments/README.md: its commands print the output shown, and it lists every experiment."""

import math
import re
import shlex
import subprocess
import sys

import pytest
from support.documents import code_blocks, links, outputs_of
from support.paths import EXPERIMENTS, ROOT

README = EXPERIMENTS / "README.md"
SCRIPTS = {path.name for path in EXPERIMENTS.glob("*.py")}
NUMBER = r"-?\d+\.\d+(?:e[-+]\d+)?"


@pytest.mark.parametrize(("command", "output"), outputs_of(README, "sh"))
def test_commands_print_the_output_shown(command, output):
    """Rounding depends on the processor: numbers may differ by 0.1 %, and rounding errors threefold."""
    python, *arguments = shlex.split(command)
    assert python == "python"
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert re.sub(NUMBER, "#", done.stdout).split() == re.sub(NUMBER, "#", output).split()
    for shown, printed in zip(re.findall(NUMBER, output), re.findall(NUMBER, done.stdout), strict=True):
        if "e-" in shown:
            assert abs(math.log10(float(shown) / float(printed))) < 0.5
        else:
            assert float(shown) == pytest.approx(float(printed), rel=1e-3)


def test_every_shown_output_is_tested():
    languages = [language for language, _ in code_blocks(README)]
    assert len(outputs_of(README, "sh")) == languages.count("text") == 8


def test_both_readmes_list_every_experiment():
    scripts_in_gallery = {link for link in links(README) if link.endswith(".py") and "/" not in link}
    assert scripts_in_gallery == SCRIPTS
    prefix = "experiments/"
    names = [link.removeprefix(prefix) for link in links(ROOT / "README.md") if link.startswith(prefix)]
    assert {name for name in names if name.endswith(".py")} == SCRIPTS


def test_links_lead_to_files():
    for link in links(README):
        assert link.startswith("https://") or (EXPERIMENTS / link).exists(), link


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_ci_finds_each_command_on_one_line(name):
    lines = README.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith(f"pip install -r experiments/{name} && ") for line in lines) == 1
