"""The documents are true: commands and code print the output below them, and tables equal their sources."""

import ast
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
    outputs_of,
)
from support.flag_table import flag_table, with_flag_table
from support.paths import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
COMMAND_LINE = DOCS / "command-line.md"
DOCUMENTS = [README, CONTRIBUTING, *sorted(DOCS.glob("*.md"))]
NOT_OUTPUT = {"README": 1, "architecture": 2}  # blocks of plain text that show files or arrows


def setup_of(path):
    """The first block of docs/interventions.md is the start of every other block."""
    return code_blocks(path)[0][1] if path == INTERVENTIONS else ""


def blocks_with_output(language):
    """All but the first command of README.md, whose output needs 124M."""
    return [
        pytest.param(setup_of(path) + code, output, id=f"{path.stem}-{n}")
        for path in DOCUMENTS
        if path not in (WALK_THROUGH, EXERCISES)  # tests/test_how_gpt2_works.py runs them as a whole
        for n, (code, output) in enumerate(outputs_of(path, language))
        if not code.startswith("pip install")
    ]


@pytest.mark.parametrize(("command", "output"), blocks_with_output("sh"))
def test_commands_print_the_output_shown(run, tmp_path, command, output):
    """A shell runs the part before a pipe. The rest runs in another folder, without a network."""
    before, _, after = command.rpartition("| ")
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
    (session,) = [text for language, text in code_blocks(COMMAND_LINE) if language == "console"]
    command, *answers = re.split(r"^> ", session, flags=re.MULTILINE)
    dollar, python, script, *arguments = shlex.split(command)
    assert (dollar, python) == ("$", "python")
    assert answers.pop() == "\n"
    for answer in answers:
        prompt, _, output = answer.partition("\n")
        assert run(prompt, *arguments, script=script) == (0, output, "")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_no_output_goes_unchecked(path):
    n_checked = len(outputs_of(path, "sh")) + len(outputs_of(path, "python"))
    n_texts = [language for language, _ in code_blocks(path)].count("text")
    assert n_texts == n_checked + NOT_OUTPUT.get(path.stem, 0)


def test_the_pages_for_users_show_outputs():
    assert len(outputs_of(COMMAND_LINE, "sh")) == 7
    assert len(outputs_of(DOCS / "python.md", "python")) == 3
    assert len(outputs_of(README, "python")) == 1


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
    shown = (DOCS / "performance.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if row not in shown] == []


def test_the_table_of_flags_is_that_of_the_help():
    """PYTHONPATH=.:tests python tests/data/make_outputs.py docs/command-line.md writes it."""
    page = COMMAND_LINE.read_text(encoding="utf-8")
    assert page.count(flag_table()) == 1
    assert with_flag_table(page.replace("| `--score` |", "| `--old` |")) == page


# docs/python.md.


def signatures(path):
    """The functions and classes of a file -> {name: parameters}."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = ast.unparse(node.args)
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    found[node.name] = ast.unparse(method.args).removeprefix("self, ")
    return found


def imports_of_the_project():
    """(module, name) of each `from module import name` in the project, without its tests."""
    folders = (".", "cli", "generation", "experiments", "experiments/serve", "benchmarks")
    for file in (file for folder in folders for file in (ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                yield from ((node.module, alias.name) for alias in node.names)


def public_functions():
    """The signatures of all of gpt2.py, and of what other files import from encoder.py and generation/."""
    imports = {*imports_of_the_project()}
    for path in [ROOT / "gpt2.py", ROOT / "encoder.py", *ROOT.glob("generation/*.py")]:
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for name, parameters in signatures(path).items():
            if module == "gpt2" or (module, name) in imports:
                yield f"{name}({parameters})"


def test_the_reference_shows_every_public_function():
    page = " ".join((DOCS / "python.md").read_text(encoding="utf-8").split())
    loader = signatures(ROOT / "utils.py")["load_encoder_hparams_and_params"]
    functions = {*public_functions(), f"load_encoder_hparams_and_params({loader})"}
    assert len(functions) > 30
    assert {function for function in functions if function not in page} == set()


# Names.


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_names_of_files_and_tests_exist(path):
    """Names in backticks: a path from the root such as `cli/flags.py`, or the name of a test."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    tests = {file.name: file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py")}
    for name in re.findall(r"(?<!\[)`([\w./-]+\.py)`", text):
        assert name in tests or (ROOT / name).exists(), name
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in code for code in tests.values()), name
