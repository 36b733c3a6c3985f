"""docs/how-gpt2-works.md and docs/exercises.md: their code runs in order, and the quotes equal gpt2.py."""

import re

import pytest
from support.documents import (
    EXERCISES,
    WALK_THROUGH,
    as_one_program,
    assert_same_output,
    code_blocks,
    links,
    outputs_of,
    split_output,
)
from support.paths import ROOT, files_in

PICTURES = WALK_THROUGH.parent / "pictures"
_, *SECTIONS = re.split(r"^## ", WALK_THROUGH.read_text(encoding="utf-8"), flags=re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", [WALK_THROUGH, EXERCISES], ids=lambda path: path.stem)
def test_all_snippets_in_order_print_the_output_shown(run, path):
    snippets = [code for language, code in code_blocks(path) if language == "python"]
    status, stdout, stderr = run(code=as_one_program(snippets))
    assert (status, stderr) == (0, "")
    printed = dict(zip(snippets, split_output(stdout), strict=True))
    shown = outputs_of(path, "python")
    assert [language for language, _ in code_blocks(path)].count("text") == len(shown) > 5
    for code, output in shown:
        assert_same_output(output, printed[code])


def test_quotes_equal_gpt2():
    source = (ROOT / "gpt2.py").read_text(encoding="utf-8")
    quotes = [code for language, code in code_blocks(WALK_THROUGH) if language == "py"]
    parts = [part.rstrip("\n") for quote in quotes for part in quote.split("\n\n\n")]  # functions or lines
    assert len(parts) == 11
    assert [part for part in parts if f"\n{part}\n" not in source] == []


def test_the_quotes_show_the_whole_forward_pass():
    """All its functions but linear, which the text explains, and the body of gpt2."""
    quotes = "".join(code for language, code in code_blocks(WALK_THROUGH) if language == "py")
    names = {"layer_norm", "softmax", "attention", "mha", "gelu", "ffn", "transformer_block"}
    assert set(re.findall(r"^def (\w+)", quotes, re.MULTILINE)) == names | {"apply_temperature"}
    assert "for layer, block in enumerate(blocks):" in quotes


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("?")[0])
def test_each_section_is_a_question_a_few_lines_a_snippet_and_a_picture(section):
    heading, _, text = section.partition("\n")
    assert heading.endswith("?")
    prose = [line for line in CODE.sub("", text).splitlines() if line and not line.startswith("![")]
    assert 3 <= len(prose) <= 10
    assert re.search(r"^```python\n.*?^```\n```text\n.+?^```$", text, re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"^!\[.{20,}\]\(pictures/\w+\.png\)$", text, re.MULTILINE)) == 1


def test_the_page_shows_every_picture_and_none_is_large():
    shown = [link.removeprefix("pictures/") for link in links(WALK_THROUGH) if link.endswith(".png")]
    assert sorted(shown) == files_in(PICTURES)
    assert all(path.stat().st_size < 60_000 for path in PICTURES.iterdir())
