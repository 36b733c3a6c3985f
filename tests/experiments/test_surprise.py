"""surprise.py: its numbers equal transformers' loss, and the terminal and the web page show them."""

import html.parser
import re

import numpy as np
import pytest
import surprise
import torch
from helpers.token_labels import token_labels, visible
from support.experiment_helpers import run_reference


class Page(html.parser.HTMLParser):
    """The text of all <span>s of a page, and their tips."""

    def __init__(self, page):
        super().__init__()
        self.text, self.tips, self.is_in_span = "", [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.is_in_span = tag == "span"
        if self.is_in_span:
            self.tips.append(dict(attributes)["data-tip"])

    def handle_endtag(self, tag):
        self.is_in_span = False

    def handle_data(self, data):
        self.text += data if self.is_in_span else ""


def test_mean_surprise_equals_transformers_loss(encoder, model, ids, reference):
    ids = [encoder.end_of_text, *ids]
    loss = reference(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    bits = [bits for bits, _ in surprise.surprises(ids, **model)]
    assert np.mean(bits) * np.log(2) == pytest.approx(loss, rel=1e-5)


def test_tokens_of_a_long_text_have_at_least_half_a_context(model, reference):
    """n_ctx is 16, and the text has 50 tokens."""
    ids = np.random.default_rng(0).integers(4096, size=50).tolist()
    small = {**model["params"], "wpe": model["params"]["wpe"][:16]}
    rows = list(surprise.surprises(ids, small, model["n_head"]))
    for place, (token_id, (bits, best)) in enumerate(zip(ids[1:], rows, strict=True), 1):
        possible = []
        for n_before in range(min(place, 8), min(place, 16) + 1):
            logits = run_reference(reference, ids[place - n_before : place]).logits[0, -1]
            log_probs = torch.log_softmax(logits, dim=-1) / np.log(2)
            possible.append(np.isclose(-log_probs[token_id], bits, atol=1e-4))
            if possible[-1]:
                top = log_probs.topk(5)
                assert [other for other, _ in best] == top.indices.tolist()
                np.testing.assert_allclose([-b for _, b in best], top.values, atol=1e-4)
        assert any(possible)


def test_terminal_shows_the_text_in_colors(run_experiment):
    text = "Once upon a time <b>&amp;\n\nthere was\ta König"
    status, stdout, stderr = run_experiment("surprise.py", "--model_size=demo", text)
    assert (status, stderr) == (0, "")
    shown, _, summary = re.sub(r"\x1b\[[\d;]*m", "", stdout).rstrip().rpartition("\n")
    assert shown.replace("↵", "") == text.replace("ö", r"\xc3\xb6").replace("\t", "→")
    assert len(set(re.findall(r"\x1b\[30;48;5;(\d+)m", stdout))) > 3
    assert re.fullmatch(r"[\d.]+ bits, [\d.]+ per token, \d+ tokens", summary)


def test_page_shows_the_text_and_the_most_probable_tokens(run_experiment, encoder, tmp_path, reference):
    text = "Once upon a time <b>&amp;\n\nthere was a \"king\" & 'queen'"
    (tmp_path / "story.txt").write_text(text, encoding="utf-8")
    result = run_experiment("surprise.py", "--model_size=demo", "--file=story.txt", "--html=page.html")
    assert result == (0, "page.html\n", "")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.text == text
    ids = [encoder.end_of_text, *encoder.encode(text)]
    log_probs = torch.log_softmax(run_reference(reference, ids).logits[0], dim=-1)
    for tip, token_id, row in zip(page.tips, ids[1:], log_probs[:-1], strict=True):
        own, _, *alternatives = tip.split("\n")
        assert own == f"{-row[token_id] / np.log(2):5.1f} bits  {visible(encoder.decode([token_id]))}"
        top = row.topk(5)
        for line, prob, other in zip(alternatives, top.values.exp(), top.indices.tolist(), strict=True):
            percent, _, token = line.partition(" %     ")
            assert float(percent) == pytest.approx(100 * prob.item(), abs=0.06)
            assert token == token_labels(encoder, [other])[0]


def test_more_surprising_tokens_are_redder():
    spans = [surprise.to_html("a", bits, []) for bits in (0, 5, 10, 15, 20)]
    rest = [int(re.search(r"--rest: (\d+)", span)[1]) for span in spans]
    assert rest == [255, 197, 138, 80, 80]
    steps = [surprise.to_terminal("a", bits) for bits in (0, 1.4, 1.6, 14.9, 40)]
    colors = [int(re.search(r"48;5;(\d+)m", step)[1]) for step in steps]
    assert colors == [231, 231, 230, 197, 197]
