"""experiments/README.md: its commands print the output shown, and it lists every experiment."""

import ast
import math
import re
import shlex
import subprocess
import sys

import pytest
from support.documents import code_blocks, links, outputs_of
from support.paths import EXPERIMENTS, ROOT, files_in

README = EXPERIMENTS / "README.md"
PICTURES = EXPERIMENTS / "pictures"
SCRIPTS = {path.name for path in EXPERIMENTS.glob("*.py")}
DOCUMENTS = [README, *sorted(ROOT.glob("docs/*.md"))]
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
    assert len(outputs_of(README, "sh")) == languages.count("text") == 5


def test_the_gallery_lists_every_experiment():
    headings = re.findall(r"^### .*", README.read_text(encoding="utf-8"), re.MULTILINE)
    linked = [name for heading in headings for name in re.findall(r"\]\((\w+\.py)\)", heading)]
    assert sorted(linked) == sorted(SCRIPTS)
    assert "experiments/README.md" in links(ROOT / "README.md")


def test_the_gallery_shows_every_picture_with_a_description():
    pictures = re.findall(r"!\[(.*)\]\((.*)\)", README.read_text(encoding="utf-8"))
    assert sorted(path for _, path in pictures) == [f"pictures/{name}" for name in files_in(PICTURES)]
    assert [path for description, path in pictures if len(description.split()) < 5] == []


@pytest.mark.parametrize(("path", "limit"), [(README, 250), (ROOT / "docs" / "ray.md", 120)])
def test_pages_are_short(path, limit):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_has_more_than_150_lines(name):
    assert len((EXPERIMENTS / name).read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_flags_in_commands_exist(path):
    """Many commands need a large model, a data set or a cluster, so no test runs them."""
    for name, arguments in re.findall(r"python experiments/(\S+) ?(.*)", path.read_text(encoding="utf-8")):
        tree = ast.parse((EXPERIMENTS / name.strip("`")).read_text(encoding="utf-8"))
        (main,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
        flags = re.findall(r"(?:^| )--(\w+)", arguments)
        assert set(flags) <= {argument.arg for argument in main.args.args}, name


def test_links_lead_to_files():
    for link in links(README):
        assert link.startswith("https://") or (EXPERIMENTS / link).exists(), link


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_ci_finds_each_command_on_one_line(name):
    lines = README.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith(f"pip install -r experiments/{name} && ") for line in lines) == 1
