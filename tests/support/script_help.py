"""The scripts of the project, and what their source says about their flags."""

import ast
import re

from support.paths import ROOT

MAIN_IN = {"gpt2.py": "cli/flags.py", "gpt2_pico.py": "cli/pico_flags.py"}


def scripts_in(*folders):
    """The scripts in these folders that end in `run(main)`, as paths from the root."""
    files = [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]
    scripts = [path for path in files if path.read_text(encoding="utf-8").endswith("    run(main)\n")]
    return [path.relative_to(ROOT).as_posix() for path in scripts]


def described_flags(script):
    """Read the section Args in the docstring of a script's `main` -> {flag: words of its description}."""
    tree = ast.parse((ROOT / MAIN_IN.get(script, script)).read_text(encoding="utf-8"))
    (main,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    lines = ast.get_docstring(main).splitlines()
    flags = {}
    for line in lines[lines.index("Args:") + 1 :]:
        if not line.startswith(" " * 5):
            name, _, line = line.partition(":")
            flags[name.strip()] = []
        flags[name.strip()] += line.split()
    assert list(flags) == [argument.arg for argument in main.args.args], script
    return flags


def help_of_flags(stdout):
    """Read the output of --help -> {flag: words below it}."""
    parts = re.split(r"^  --(\w+).*\n", stdout, flags=re.MULTILINE)
    return {name: text.split() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
