"""Parts of the Markdown documents: code blocks and the output below them, links, anchors, sentences."""

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
