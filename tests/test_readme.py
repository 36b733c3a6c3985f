"""The README is true: its commands and its Python run, and print what it says they print."""

import ast
import inspect
import itertools
import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT

import commands

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


def check(shown, printed):
    """The same, but for the last digits of numbers: they depend on the rounding of the machine."""
    number = r"-?\d+\.\d+"
    assert re.split(number, shown) == re.split(number, printed)
    numbers = [[float(n) for n in re.findall(number, text)] for text in (shown, printed)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=2e-4)


@pytest.mark.parametrize(("command", "output"), outputs_of("sh"))
def test_commands_print_what_is_shown(run, tmp_path, command, output):
    """What is before a | is run by a shell; the rest without network, as from another folder."""
    before, _, after = command.split("&& ")[-1].rpartition("| ")
    python, script, *arguments = shlex.split(after)
    assert python == "python"
    piped = subprocess.check_output(before, shell=True, text=True) if before else None
    status, stdout, _ = run(*arguments, f"--models_dir={tmp_path}", script=script, piped=piped)
    assert status == 0
    check(output, stdout)


@pytest.mark.parametrize(("code", "output"), outputs_of("python"))
def test_python_prints_what_is_shown(run, code, output):
    status, stdout, stderr = run(code=code)
    assert (status, stderr) == (0, "")
    check(output, stdout)


def test_the_conversation_is_what_each_prompt_gives(run):
    """test_commands.py holds one in a terminal."""
    (conversation,) = [text for kind, text in BLOCKS if kind == "console"]
    command, *answers = re.split(r"^> ", conversation, flags=re.MULTILINE)
    dollar, python, script, *arguments = shlex.split(command)
    assert (dollar, python) == ("$", "python")
    assert answers.pop() == "\n"
    for answer in answers:
        prompt, _, output = answer.partition("\n")
        assert run(prompt, *arguments, script=script) == (0, output, "")


def test_there_are_as_many_of_them_as_there_should_be():
    assert len(outputs_of("sh")) == 8
    assert len(outputs_of("python")) == 3
    assert sum(line != "" for line in outputs_of("python")[0][0].splitlines()) == 5


@pytest.mark.parametrize("name", ["compare.md", "bench-124M.md"])
def test_the_figures_are_those_that_were_measured(name):
    lines = (ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 5
    assert [row for row in rows if row not in README.splitlines()] == []


def test_every_flag_is_explained():
    table = re.findall(r"^\| (`--.*?) \|", README, re.MULTILINE)
    named = {flag for row in table for flag in re.findall(r"--(\w+)", row)}
    assert named == set(inspect.signature(commands.main).parameters) - {"prompt"} | {"help"}


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
