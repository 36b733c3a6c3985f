"""README.md: its commands, its quote of gpt2.py, its link to the forward pass, and its list of files."""

import ast
import re

from support.documents import code_blocks
from support.paths import ROOT

README = ROOT / "README.md"
PROMPT = "Alan Turing theorized that computers would one day become"
INSTALL_AND_GENERATE = f'pip install -r requirements.txt && python gpt2.py "{PROMPT}"'
INSTALL_AND_TEST = "pip install -r requirements-dev.txt && pytest"


def functions_of_gpt2():
    tree = ast.parse((ROOT / "gpt2.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_two_commands_have_a_line_each():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert lines.count(INSTALL_AND_GENERATE) == 1
    assert lines.count(INSTALL_AND_TEST) == 1


def test_the_first_link_leads_to_the_forward_pass():
    functions = functions_of_gpt2()
    first, last = functions["gelu"].lineno, functions["gpt2"].end_lineno
    line_links = re.findall(r"\]\((gpt2\.py#[^)]*)\)", README.read_text(encoding="utf-8"))
    assert line_links == [f"gpt2.py#L{first}-L{last}"]


def test_the_quote_equals_gpt2_py():
    functions = functions_of_gpt2()
    first, last = functions["transformer_block"].lineno, functions["gpt2"].end_lineno
    lines = (ROOT / "gpt2.py").read_text(encoding="utf-8").splitlines(keepends=True)
    quote, _ = [text for language, text in code_blocks(README) if language == "python"]
    assert quote == "".join(lines[first - 1 : last])


def test_the_python_example_has_six_lines():
    _, example = [text for language, text in code_blocks(README) if language == "python"]
    assert sum(line != "" for line in example.splitlines()) == 6


def test_the_list_of_files_is_complete_and_short():
    *_, listing = [text for language, text in code_blocks(README) if language == "text"]
    places = []
    for line in listing.splitlines():
        place, *words = line.split()
        assert 3 <= len(words) <= 8, line
        assert (ROOT / place).is_dir() if place.endswith("/") else (ROOT / place).is_file(), line
        places.append(place)
    folders = {f"{path.name}/" for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert {place for place in places if place.endswith(".py")} == {path.name for path in ROOT.glob("*.py")}
    assert folders - {".venv/"} <= {*places}
