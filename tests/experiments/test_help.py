"""--help of all other scripts: the full text of every flag. Skipped if a package of the script is missing."""

import subprocess
import sys

import pytest
from support.paths import ROOT
from support.script_help import described_flags, help_of_flags, scripts_in


@pytest.mark.parametrize("script", scripts_in("experiments", "benchmarks", "models/make_demo"))
def test_help_describes_every_flag(script):
    name = script.removesuffix(".py").replace("/", ".")
    what = ["-m", name] if script.startswith("models/") else [script]
    command = [sys.executable, *what, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    assert help_of_flags(done.stdout) == described_flags(script)
