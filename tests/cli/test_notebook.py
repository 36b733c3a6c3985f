"""The scripts in a notebook, as `%run gpt2.py ...`: stdout has fewer methods, and more cells follow."""

import json

import pytest
from support.command_line import DEMO, PROMPT, is_one_line
from support.paths import ROOT

# One process runs the script, as %run does, and then the next cell. {stdout} is the class of stdout.
CELLS = """
import io, runpy, sys, warnings

class Tee:
    def __init__(self):
        self.text = ""
    def write(self, text):
        self.text += text
    def flush(self):
        pass
    def getvalue(self):
        return self.text

terminal, showwarning = sys.stdout, warnings.showwarning
sys.stdout = stdout = {stdout}()
sys.path.insert(0, {folder!r})
try:
    runpy.run_path({script!r}, run_name="__main__")
    status = 0
except SystemExit as error:
    status = error.code
print("next cell")
assert (sys.stdout, warnings.showwarning) == (stdout, showwarning)
terminal.write(stdout.getvalue())
terminal.flush()
sys.stdout = terminal
sys.exit(status)
"""


@pytest.fixture(params=["io.StringIO", "Tee"])
def run_cells(request, run):
    """run_cells(script, *arguments): run CELLS. Returns (status, stdout, stderr) of the script."""

    def run_cells(script, *arguments):
        path = ROOT / script
        code = CELLS.format(stdout=request.param, folder=str(path.parent), script=str(path))
        status, stdout, stderr = run(*arguments, code=code)
        assert stdout.endswith("next cell\n"), stderr
        return status, stdout.removesuffix("next cell\n"), stderr

    return run_cells


def test_notebook_shows_the_text(run_cells, generated_text):
    assert run_cells("gpt2.py", PROMPT, DEMO, "--quiet") == (0, generated_text(PROMPT), "")


def test_notebook_shows_json_lines(run_cells):
    status, stdout, _ = run_cells("gpt2.py", "naïve 你好 🙂", DEMO, "--n_samples=2")
    assert status == 0
    assert [json.loads(line)["prompt"] for line in stdout.splitlines()] == ["naïve 你好 🙂"] * 2


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("gpt2.py", [PROMPT, DEMO, "--score"]),
        ("gpt2.py", [PROMPT * 99, DEMO]),  # more than the context: with a warning
        ("gpt2_pico.py", [PROMPT, DEMO]),
        ("utils.py", ["demo", "--verify"]),
        ("experiments/tokens.py", [PROMPT, DEMO]),
        ("experiments/surprise.py", [PROMPT, DEMO]),
    ],
)
def test_scripts_run_in_a_notebook(run_cells, script, arguments):
    status, stdout, stderr = run_cells(script, *arguments)
    assert status == 0 and stdout != "" and "Traceback" not in stderr


def test_notebook_continues_after_help(run_cells):
    status, _, stderr = run_cells("gpt2.py", "--help")
    assert status == 0 and "Traceback" not in stderr


def test_notebook_continues_after_an_error(run_cells):
    status, stdout, stderr = run_cells("gpt2.py", PROMPT, "--model_size=125M")
    assert (status, stdout) == (2, "")
    assert is_one_line(stderr) and stderr.startswith("gpt2.py: unknown model")
