"""Code blocks in the Markdown documents, and the output that follows them."""

import itertools
import re


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
    return re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
