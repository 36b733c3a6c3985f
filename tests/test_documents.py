"""The documents are true: commands and code print the output below them, and links lead to files."""

import inspect
import re
import shlex
import subprocess

import pytest
from support.documents import (
    EXERCISES,
    INTERVENTIONS,
    WALK_THROUGH,
    assert_same_output,
    code_blocks,
    links,
    outputs_of,
)
from support.paths import ROOT

import cli.flags

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted(ROOT.glob("docs/*.md"))]
PROMPT = "Alan Turing theorized that computers would one day become"
INSTALL_AND_GENERATE = f'pip install -r requirements.txt && python gpt2.py "{PROMPT}"'
INSTALL_AND_TEST = "pip install -r requirements-dev.txt && pytest"


def setup_of(path):
    """The first block of docs/interventions.md is the start of every other block."""
    return code_blocks(path)[0][1] if path == INTERVENTIONS else ""


def blocks_with_output(language):
    return [
        pytest.param(setup_of(path) + code, output, id=f"{path.stem}-{n}")
        for path in DOCUMENTS
        if path not in (WALK_THROUGH, EXERCISES)  # tests/test_how_gpt2_works.py runs them as a whole
        for n, (code, output) in enumerate(outputs_of(path, language))
    ]


def test_the_two_commands_of_the_readme_have_a_line_each():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert lines.count(INSTALL_AND_GENERATE) == 1
    assert lines.count(INSTALL_AND_TEST) == 1


@pytest.mark.parametrize(("command", "output"), blocks_with_output("sh"))
def test_commands_print_the_output_shown(run, tmp_path, command, output):
    """A shell runs the part before a pipe. The rest runs in another folder, without a network."""
    before, _, after = command.split("&& ")[-1].rpartition("| ")
    python, script, *arguments = shlex.split(after)
    assert python == "python"
    piped = subprocess.check_output(before, shell=True, text=True) if before else None
    status, stdout, _ = run(*arguments, f"--models_dir={tmp_path}", script=script, piped=piped)
    assert status == 0
    assert_same_output(output, stdout)


@pytest.mark.parametrize(("code", "output"), blocks_with_output("python"))
def test_python_prints_the_output_shown(run, code, output):
    status, stdout, stderr = run(code=code)
    assert (status, stderr) == (0, "")
    assert_same_output(output, stdout)


def test_the_session_shows_the_answer_to_each_prompt(run):
    """tests/cli runs a session in a terminal."""
    (session,) = [text for language, text in code_blocks(README) if language == "console"]
    command, *answers = re.split(r"^> ", session, flags=re.MULTILINE)
    dollar, python, script, *arguments = shlex.split(command)
    assert (dollar, python) == ("$", "python")
    assert answers.pop() == "\n"
    for answer in answers:
        prompt, _, output = answer.partition("\n")
        assert run(prompt, *arguments, script=script) == (0, output, "")


def test_no_output_of_the_readme_goes_unchecked():
    assert len(outputs_of(README, "sh")) == 8
    assert len(outputs_of(README, "python")) == 4
    assert [language for language, _ in code_blocks(README)].count("text") == 12
    first_code, _ = outputs_of(README, "python")[0]
    assert sum(line != "" for line in first_code.splitlines()) == 5


def test_each_intervention_shows_its_output_within_ten_lines():
    _, *snippets = [code for language, code in code_blocks(INTERVENTIONS) if language == "python"]
    assert [code for code, _ in outputs_of(INTERVENTIONS, "python")] == snippets
    assert len(snippets) == 5
    assert all(5 <= len(code.splitlines()) <= 10 for code in snippets)
    assert len(INTERVENTIONS.read_text(encoding="utf-8").splitlines()) <= 120


def test_the_setup_of_the_interventions_computes_the_logits_of_gpt2(run):
    code = (
        "from gpt2 import gpt2\n"
        "logits = gpt2(encoder.encode(text), **params, n_head=n_head)\n"
        "np.testing.assert_allclose(decode(run(embed(text), blocks)), logits, atol=1e-4)\n"
        "print(f'{logits[-1, red] - logits[-1, blue]:.4f}')"
    )
    status, stdout, stderr = run(code=setup_of(INTERVENTIONS) + code)
    assert (status, stderr) == (0, "")
    (difference,) = re.findall(r"[\d.]+\d(?= more than)", INTERVENTIONS.read_text(encoding="utf-8"))
    assert_same_output(f"{difference}\n", stdout)


@pytest.mark.parametrize("name", ["compare.md", "bench-124M.md"])
def test_the_tables_show_the_benchmark_results(name):
    lines = (ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 5
    assert [row for row in rows if row not in README.read_text(encoding="utf-8").splitlines()] == []


def test_the_table_of_flags_is_complete():
    table = re.findall(r"^\| (`--.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    flags = {flag for row in table for flag in re.findall(r"--(\w+)", row)}
    assert flags == set(inspect.signature(cli.flags.main).parameters) - {"prompt"} | {"help"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_links_lead_to_files(path):
    for link in links(path):
        assert link.startswith("https://") or (path.parent / link).exists(), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_names_of_files_and_tests_exist(path):
    """Names in backticks: a path from the root such as `cli/flags.py`, or the name of a test."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    tests = {file.name: file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py")}
    for name in re.findall(r"(?<!\[)`([\w./-]+\.py)`", text):
        assert name in tests or (ROOT / name).exists(), name
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in code for code in tests.values()), name


def test_contributing_has_at_most_60_lines():
    assert len(CONTRIBUTING.read_text(encoding="utf-8").splitlines()) <= 60
