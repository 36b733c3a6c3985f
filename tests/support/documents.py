"""Parts of the Markdown documents: code blocks and the output below them, links, anchors, sentences."""

import itertools
import re

import pytest

from support.paths import ROOT

INTERVENTIONS = ROOT / "docs" / "interventions.md"
WALK_THROUGH = ROOT / "docs" / "how-gpt2-works.md"
EXERCISES = ROOT / "docs" / "exercises.md"
ONE_PROGRAM = (INTERVENTIONS, WALK_THROUGH, EXERCISES)  # each Python snippet continues those above it
END_OF_SNIPPET = "\f\n"


def code_blocks(path):
    """Read the fenced code blocks of a document -> [(language, text)]."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def outputs_of(path, language):
    """Find the blocks of a language that a block of plain text follows -> [(code, output)]."""
    return [
        (code, output)
        for (code_language, code), (output_language, output) in itertools.pairwise(code_blocks(path))
        if (code_language, output_language) == (language, "text")
    ]


def links(path):
    """The targets of a document's links and pictures, without anchors."""
    return [target for target, _ in links_with_anchors(path) if target]


def links_with_anchors(path):
    """The links and pictures of a document -> [(target, anchor)]; "" is this document, or no anchor."""
    return re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", without_code(path))


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them: lower case, hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", without_code(path), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return [re.sub(r"[^\w -]", "", text).replace(" ", "-") for text in texts]


def sentences(path):
    """The sentences of a document's prose, in lower case, without code, pictures, tables and headings."""
    text = re.sub(r"<!--.*?-->|!\[[^]]*\]\([^)]*\)", "", without_code(path), flags=re.DOTALL)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^(#+ |\|).*$", "", text, flags=re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    for paragraph in paragraphs:
        for sentence in re.split(r"(?<=[.!?:]) ", " ".join(paragraph.lower().split())):
            yield sentence.strip("-*.!?:; ")


def without_code(path):
    """The text of a document without its fenced code blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def as_one_program(snippets):
    """Join snippets that continue one another: a line with a form feed ends the output of each."""
    return "".join(f"{code}print({END_OF_SNIPPET[:-1]!r})\n" for code in snippets)


def split_output(printed):
    """Split the output of `as_one_program` -> [output of each snippet]."""
    *outputs, rest = printed.split(END_OF_SNIPPET)
    assert rest == ""
    return outputs


def assert_same_output(shown, printed):
    """The last digits of numbers may differ: they depend on the rounding of the machine."""
    number = r"-?\d+\.\d+"
    assert re.split(number, shown) == re.split(number, printed)
    numbers = [[float(n) for n in re.findall(number, text)] for text in (shown, printed)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4, abs=2e-4)
