"""Links, lengths and sentences of all Markdown documents."""

from collections import Counter

import pytest
from support.documents import anchors, links_with_anchors, sentences
from support.paths import EXPERIMENTS, ROOT

DOCS = sorted(ROOT.glob("docs/*.md"))
MODELS = sorted(ROOT.glob("models/*/*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", EXPERIMENTS / "README.md", *DOCS, *MODELS]
MAX_LINES = {"how-gpt2-works": 460}  # it quotes code; other pages have 200


def page_id(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_lead_to_files_and_headings(path):
    for target, anchor in links_with_anchors(path):
        if target.startswith("https://"):
            continue
        file = path.parent / target if target else path
        assert file.exists(), target
        if file.suffix == ".md" and anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_no_sentence_appears_twice():
    n_words = 6  # shorter sentences may be repeated
    counts = Counter()
    for path in PAGES:
        counts.update(sentence for sentence in sentences(path) if len(sentence.split()) >= n_words)
    assert sum(counts.values()) > 500
    assert [sentence for sentence, n in counts.items() if n > 1] == []


def n_lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", DOCS, ids=page_id)
def test_a_page_has_at_most_200_lines(path):
    assert n_lines(path) <= MAX_LINES.get(path.stem, 200)


def test_the_readme_has_110_to_130_lines():
    assert 110 <= n_lines(ROOT / "README.md") <= 130


def test_contributing_has_at_most_60_lines():
    assert n_lines(ROOT / "CONTRIBUTING.md") <= 60
