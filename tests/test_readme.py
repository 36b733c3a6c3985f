"""The README is true: its commands and its Python run, and print what it says they print."""

import ast
import itertools
import re
import shlex
import sys

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
PROMPT = "Alan Turing theorized that computers would one day become"
INSTALL_AND_GENERATE = f'pip install -r requirements.txt && python gpt2.py "{PROMPT}"'
INSTALL_AND_TEST = "pip install -r requirements-dev.txt && pytest"


def outputs_of(language):
    """(code, output) of each block of `language` that is followed by a block of text, its output."""
    return [
        (code, output)
        for (kind, code), (next_kind, output) in itertools.pairwise(BLOCKS)
        if (kind, next_kind) == (language, "text")
    ]


def test_the_two_commands_are_there_each_on_a_line_of_its_own():
    assert README.splitlines().count(INSTALL_AND_GENERATE) == 1
    assert README.splitlines().count(INSTALL_AND_TEST) == 1


@pytest.mark.parametrize(("command", "output"), outputs_of("sh"))
def test_commands_print_what_is_shown(run, tmp_path, command, output):
    python, script, *arguments = shlex.split(command.split("&&")[-1])
    assert python == "python"
    status, stdout, _ = run(*arguments, f"--models_dir={tmp_path}", script=script)
    assert (status, stdout) == (0, output)


@pytest.mark.parametrize(("code", "output"), outputs_of("python"))
def test_python_prints_what_is_shown(run, code, output):
    assert run(code=code) == (0, output, "")


def test_there_are_as_many_of_them_as_there_should_be():
    assert len(outputs_of("sh")) == 2
    assert len(outputs_of("python")) == 1
    assert sum(line != "" for line in outputs_of("python")[0][0].splitlines()) == 5


def test_every_file_it_links_to_is_there():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_run_time_needs_no_more_than_the_five_packages():
    modules = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.glob("*.py")}
    imported = set()
    for tree in modules.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    packages = imported - set(modules) - sys.stdlib_module_names
    required = re.findall(r"^\w+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert packages == set(required) == {"numpy", "regex", "requests", "tqdm", "fire"}
