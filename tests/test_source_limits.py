"""The size of gpt2.py and gpt2_pico.py, and what they import."""

import ast
import subprocess
import sys

import pytest
from support.paths import ROOT


def count_lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def count_forward_pass_lines(path):
    """From `def gelu` to the end of `gpt2`, without blank lines, comment lines and docstrings."""
    source = path.read_text(encoding="utf-8")
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    docstrings = {
        line
        for function in functions.values()
        if ast.get_docstring(function)
        for line in range(function.body[0].lineno, function.body[0].end_lineno + 1)
    }
    lines = source.splitlines()
    first, last = functions["gelu"].lineno, functions["gpt2"].end_lineno
    code = [n for n in range(first, last + 1) if n not in docstrings and lines[n - 1].strip()]
    return sum(not lines[n - 1].strip().startswith("#") for n in code)


def test_the_forward_pass_has_at_most_40_lines():
    assert count_forward_pass_lines(ROOT / "gpt2.py") <= 40
    assert count_lines(ROOT / "gpt2.py") <= 260


def test_pico_has_at_most_60_lines():
    assert count_forward_pass_lines(ROOT / "gpt2_pico.py") <= 32
    assert count_lines(ROOT / "gpt2_pico.py") <= 60


@pytest.mark.parametrize("module", ["gpt2", "gpt2_pico"])
def test_import_needs_numpy_alone(module):
    """numpy imports the standard library's warnings, which gpt2 also uses."""
    code = f"import sys, numpy; before = set(sys.modules); import {module}; print(set(sys.modules) - before)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ast.literal_eval(result.stdout) == {module}
