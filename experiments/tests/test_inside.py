"""The experiments that look inside: what they compute against transformers, and what they write."""

import html.parser
import itertools
import os
import re
import subprocess
import sys

import attention
import common
import logit_lens
import next_token
import numpy as np
import pytest
import rounding
import surprise
import tokens
import torch
import transformers
from conftest import EXPERIMENTS
from hypothesis import given
from hypothesis import strategies as st

PROMPT = "The cat sat on the mat because it was tired"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="session")
def ids(encoder):
    return encoder.encode(PROMPT)


def run_reference(reference, ids, **options):
    with torch.no_grad():
        return reference(torch.tensor([ids]), **options)


# attention.py


def test_attention_maps_are_transformers_own(model, ids, reference):
    theirs = run_reference(reference, ids, output_attentions=True).attentions
    ours = attention.attention_maps(ids, **model)
    np.testing.assert_allclose(ours, np.concatenate([layer.numpy() for layer in theirs]), atol=1e-5)


def texts_of(labels):
    return [label.get_text() for label in labels]


def test_attention_draws_each_head_in_its_panel(model, ids, encoder):
    maps = attention.attention_maps(ids, **model)[2:4].reshape(8, len(ids), len(ids))
    titles, tokens = [f"title {n}" for n in range(8)], common.labels(encoder, ids)
    figure = attention.draw(maps, tokens, titles, n_columns=4)
    *panels, colours = figure.axes
    assert colours.get_ylabel() == "weight"
    for axes, weights, title in zip(panels, maps, titles, strict=True):
        (image,) = axes.images
        drawn = image.get_array()
        np.testing.assert_array_equal(drawn.mask, np.triu(np.ones_like(weights), 1))
        np.testing.assert_array_equal(drawn.filled(0), np.tril(weights))
        assert axes.get_title() == title
    assert texts_of(panels[0].get_yticklabels()) == texts_of(panels[7].get_xticklabels()) == tokens


@pytest.mark.parametrize("layer", [None, 5])
def test_attention_draws_the_layers_asked_for(monkeypatch, model, ids, layer):
    drawn = []
    monkeypatch.setattr(attention, "write_picture", lambda path, figure: drawn.append(figure))
    attention.main(PROMPT, layer=layer, model_size="demo")
    *panels, _ = drawn[0].axes
    layers = range(6) if layer is None else [layer]
    expected = attention.attention_maps(ids, **model)
    for axes, (number, head) in zip(panels, itertools.product(layers, range(4)), strict=True):
        assert axes.get_title() == f"layer {number}, head {head}"
        np.testing.assert_array_equal(axes.images[0].get_array().data, expected[number, head])


@pytest.mark.parametrize("flags", [[], ["--layer=5"]])
def test_attention_writes_a_picture(run, tmp_path, flags):
    status, stdout, stderr = run("attention.py", "--model_size=demo", *flags, PROMPT)
    assert (status, stdout, stderr) == (0, "attention.png\n", "")
    assert (tmp_path / "attention.png").read_bytes().startswith(PNG)


# logit_lens.py


def test_the_logit_lens_reads_transformers_hidden_states(model, ids, reference):
    states = run_reference(reference, ids, output_hidden_states=True).hidden_states
    best, probs = logit_lens.logit_lens(ids, **model)
    n_layer = len(states) - 1
    for row, state in enumerate(states):
        with torch.no_grad():  # the last of their states has been through ln_f already
            logits = reference.lm_head(state if row == n_layer else reference.transformer.ln_f(state))[0]
        expected = torch.softmax(logits, dim=-1).max(dim=-1)
        np.testing.assert_allclose(probs[row], expected.values, atol=1e-5)
        np.testing.assert_array_equal(best[row], expected.indices)


def test_the_logit_lens_uses_an_lm_head_of_its_own(model, ids):
    turned = model["params"]["wte"][::-1]
    best, _ = logit_lens.logit_lens(ids, {**model["params"], "lm_head": turned}, model["n_head"])
    expected, _ = logit_lens.logit_lens(ids, **model)
    np.testing.assert_array_equal(best, len(turned) - 1 - expected)


def test_the_logit_lens_has_its_words_in_their_cells():
    probs = np.array([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]])
    words = np.array([["a", "b", "$c$"], ["d", "e", "a long word"]])
    axes, _ = logit_lens.draw(probs, words, ["x", "y", "z"]).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), probs)
    assert axes.images[0].origin == "lower"
    placed = {text.get_position(): text.get_text() for text in axes.texts}
    assert placed == {(0, 0): "a", (1, 0): "b", (2, 0): "$c$", (0, 1): "d", (1, 1): "e", (2, 1): "a long w…"}
    assert texts_of(axes.get_xticklabels()) == ["x", "y", "z"]
    assert texts_of(axes.get_yticklabels()) == ["embedding", "layer 0"]


def test_logit_lens_writes_a_picture(run, tmp_path):
    status, stdout, stderr = run("logit_lens.py", "--model_size=demo", "--out=lens.png", "It costs $1 or $2")
    assert (status, stdout, stderr) == (0, "lens.png\n", "")
    assert (tmp_path / "lens.png").read_bytes().startswith(PNG)


# next_token.py


def test_next_token_probabilities_are_those_after_transformers_warpers(ids, reference):
    logits = run_reference(reference, ids).logits[:, -1]
    warpers = {
        "temperature 0.7": transformers.TemperatureLogitsWarper(0.7),
        "top_k 5": transformers.TopKLogitsWarper(5),
        "top_p 0.8": transformers.TopPLogitsWarper(0.8),
    }
    settings = next_token.next_token_probabilities(logits[0].numpy(), temperature=0.7, top_k=5, top_p=0.8)
    assert settings.keys() == {"the model's own", *warpers}
    for name, probs in settings.items():
        expected = warpers[name](None, logits) if name in warpers else logits
        np.testing.assert_allclose(probs, torch.softmax(expected, dim=-1)[0], atol=1e-6)


def test_next_token_has_a_bar_for_each_probability():
    settings = {"one": np.array([0.5, 0.25, 0.125]), "two": np.array([0.75, 0.25, 0])}
    panels = next_token.draw(settings, ["a", "b", "c"], "title").axes
    for axes, (name, probs) in zip(panels, settings.items(), strict=True):
        assert axes.get_title() == name
        np.testing.assert_array_equal([bar.get_width() for bar in axes.patches], probs)
        assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == [0, 1, 2]
    assert texts_of(panels[0].get_yticklabels()) == ["a", "b", "c"]
    assert panels[0].yaxis_inverted() and panels[1].yaxis_inverted()
    assert texts_of(panels[1].texts) == ["75.0%", "25.0%", ""]


def test_next_token_writes_a_picture(run, tmp_path):
    status, stdout, stderr = run("next_token.py", "--model_size=demo", PROMPT)
    assert (status, stdout, stderr) == (0, "next_token.png\n", "")
    assert (tmp_path / "next_token.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "flag", ["--temperature=0", "--temperature=-1", "--top_k=0", "--top_p=0", "--n_tokens=101"]
)
def test_next_token_refuses_what_leaves_no_choice(run, flag):
    status, stdout, stderr = run("next_token.py", "--model_size=demo", flag, PROMPT)
    assert (status, stdout) == (2, "")
    assert flag[2:].partition("=")[0] in stderr


# surprise.py


class Page(html.parser.HTMLParser):
    """The text of a page's <span>s, and what they show under the pointer."""

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


def test_surprise_is_transformers_loss(encoder, model, ids, reference):
    ids = [encoder.end_of_text, *ids]
    loss = reference(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    bits = [bits for bits, _ in surprise.surprises(ids, **model)]
    assert np.mean(bits) * np.log(2) == pytest.approx(loss, rel=1e-5)


def test_each_token_of_a_long_text_sees_half_a_context_or_more(model, reference):
    """A context of 16 tokens, and a text of 50."""
    ids = np.random.default_rng(0).integers(4096, size=50).tolist()
    small = {**model["params"], "wpe": model["params"]["wpe"][:16]}
    rows = list(surprise.surprises(ids, small, model["n_head"]))
    for place, (id, (bits, best)) in enumerate(zip(ids[1:], rows, strict=True), 1):
        possible = []
        for n_before in range(min(place, 8), min(place, 16) + 1):
            logits = run_reference(reference, ids[place - n_before : place]).logits[0, -1]
            log_probs = torch.log_softmax(logits, dim=-1) / np.log(2)
            possible.append(np.isclose(-log_probs[id], bits, atol=1e-4))
            if possible[-1]:
                top = log_probs.topk(5)
                assert [other for other, _ in best] == top.indices.tolist()
                np.testing.assert_allclose([-b for _, b in best], top.values, atol=1e-4)
        assert any(possible)


def test_surprise_colours_the_text_in_the_terminal(run):
    text = "Once upon a time <b>&amp;\n\nthere was\ta König"
    status, stdout, stderr = run("surprise.py", "--model_size=demo", text)
    assert (status, stderr) == (0, "")
    shown, _, summary = re.sub(r"\x1b\[[\d;]*m", "", stdout).rstrip().rpartition("\n")
    assert shown.replace("↵", "") == text.replace("ö", r"\xc3\xb6").replace("\t", "→")
    assert len(set(re.findall(r"\x1b\[30;48;5;(\d+)m", stdout))) > 3
    assert re.fullmatch(r"[\d.]+ bits, [\d.]+ for each of \d+ tokens", summary)


def test_surprise_s_page_has_the_text_and_the_likeliest_tokens(run, encoder, tmp_path, reference):
    text = "Once upon a time <b>&amp;\n\nthere was a \"king\" & 'queen'"
    (tmp_path / "story.txt").write_text(text, encoding="utf-8")
    status, stdout, stderr = run("surprise.py", "--model_size=demo", "--file=story.txt", "--html=page.html")
    assert (status, stdout, stderr) == (0, "page.html\n", "")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.text == text
    ids = [encoder.end_of_text, *encoder.encode(text)]
    log_probs = torch.log_softmax(run_reference(reference, ids).logits[0], dim=-1)
    for tip, id, row in zip(page.tips, ids[1:], log_probs[:-1], strict=True):
        own, _, *likeliest = tip.split("\n")
        assert own == f"{-row[id] / np.log(2):5.1f} bits  {common.visible(encoder.decode([id]))}"
        top = row.topk(5)
        for line, prob, other in zip(likeliest, top.values.exp(), top.indices.tolist(), strict=True):
            percent, _, token = line.partition(" %     ")
            assert float(percent) == pytest.approx(100 * prob.item(), abs=0.06)
            assert token == common.labels(encoder, [other])[0]


def test_a_more_surprising_token_is_redder():
    spans = [surprise.for_page("a", bits, []) for bits in (0, 5, 10, 15, 20)]
    rest = [int(re.search(r"--rest: (\d+)", span)[1]) for span in spans]
    assert rest == [255, 197, 138, 80, 80]
    steps = [surprise.for_terminal("a", bits) for bits in (0, 1.4, 1.6, 14.9, 40)]
    colours = [int(re.search(r"48;5;(\d+)m", step)[1]) for step in steps]
    assert colours == [231, 231, 230, 197, 197]


# tokens.py


@given(st.text(max_size=30))
def test_the_last_merge_step_is_what_the_encoder_makes(encoder, text):
    for word in tokens.PATTERN.findall(text):
        steps = list(tokens.merge_steps(word, encoder))
        last, pair = steps[-1]
        assert pair == ()
        assert [encoder.encoder[token] for token in last] == encoder.encode(word)
        for (before, pair), (after, _) in itertools.pairwise(steps):
            assert "".join(before) == "".join(after)
            assert after.count("".join(pair)) > before.count("".join(pair))


def test_tokens_shows_the_text_and_its_ids(run, encoder):
    status, stdout, stderr = run("tokens.py", "--model_size=demo", "Once upon a time")
    assert (status, stderr) == (0, "")
    shown, ids, counts = stdout.splitlines()
    assert shown == "On ce ·upon ·a ·time"
    assert [int(id) for id in ids.split()] == encoder.encode("Once upon a time")
    assert counts == "5 tokens, 16 characters, 16 bytes"


def test_tokens_shows_merges(run):
    """The first four pairs of the demo's vocab.bpe are "Ġ t", "h e", "Ġ a", "Ġt he"."""
    status, stdout, stderr = run("tokens.py", "--model_size=demo", "--merges", " the")
    assert (status, stderr) == (0, "")
    assert stdout.splitlines() == [
        "· t h e   · + t: pair 1",
        "·t h e   h + e: pair 2",
        "·t he   ·t + he: pair 4",
        "·the",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a pty is POSIX")
def test_tokens_has_colours_in_a_terminal():
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, EXPERIMENTS / "tokens.py", "--model_size=demo", "Once upon"]
    subprocess.run(command, stdout=slave, timeout=60, check=True)
    shown = os.read(master, 1000).decode().splitlines()[0]
    os.close(slave)
    os.close(master)
    pieces = re.findall(r"\x1b\[30;48;5;(\d+)m(.*?)\x1b\[0m", shown)
    assert [text for _, text in pieces] == ["On", "ce", "·upon"]
    assert all(before != after for (before, _), (after, _) in itertools.pairwise(pieces))


# rounding.py


def test_float64_is_torchs_double(model, ids, reference):
    states = rounding.all_states(ids, rounding.to_float64(model["params"]), model["n_head"])
    double = reference.double()
    output = run_reference(double, ids, output_hidden_states=True)
    *theirs, _ = output.hidden_states  # the last has been through ln_f
    for ours, state in zip(states.values(), theirs, strict=False):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, state[0], atol=1e-12)
    np.testing.assert_allclose(states["logits"], output.logits[0], atol=1e-12)


def test_rounding_says_how_far_float32_is(run, model, ids, reference):
    """Our errors are those of float32: between a hundredth and ten times those of torch's."""
    status, stdout, stderr = run("rounding.py", "--model_size=demo", PROMPT)
    assert (status, stderr) == (0, "")
    *_, logits, _ = stdout.splitlines()
    exact = run_reference(reference.double(), ids).logits
    error = run_reference(reference.float(), ids).logits - exact
    size, rms, largest, relative = (float(number) for number in logits.split()[1:])
    expected_rms = torch.sqrt(torch.mean(error**2)).item()
    assert size == pytest.approx(torch.sqrt(torch.mean(exact**2)).item(), rel=1e-3)
    assert 0.01 * expected_rms < rms < 10 * expected_rms
    assert 0.01 * error.abs().max() < largest < 10 * error.abs().max()
    assert relative == pytest.approx(rms / size, rel=0.01)


# What is wrong with what was typed.

NAMES = ["attention.py", "logit_lens.py", "next_token.py", "rounding.py"]


@pytest.mark.parametrize("script", NAMES)
def test_a_text_longer_than_the_context_is_refused(run, tmp_path, script):
    status, stdout, stderr = run(script, "--model_size=demo", " king" * 300)
    assert (status, stdout) == (2, "")
    assert stderr == f"{script}: the text has 300 tokens, and this model can see 256 at most\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [*NAMES, "surprise.py", "tokens.py"])
def test_no_text_is_refused(run, script):
    status, stdout, stderr = run(script, "--model_size=demo")
    assert (status, stdout) == (2, "")
    assert stderr.count("\n") == 1


def test_a_layer_that_is_not_there_is_refused(run):
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--layer=6", PROMPT)
    assert (status, stdout, stderr) == (2, "", "attention.py: layer must be from 0 to 5, not 6\n")


def test_a_picture_is_a_png(run, tmp_path):
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--out=a.svg", PROMPT)
    assert (status, stdout, stderr) == (2, "", "attention.py: a.svg is not the name of a .png file\n")


def test_a_picture_that_cannot_be_written_is_one_line(run, tmp_path):
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--out=no/where.png", PROMPT)
    assert (status, stdout) == (2, "")
    assert stderr == "attention.py: there is no folder no to write where.png to\n"
    (tmp_path / "folder.png").mkdir()
    status, stdout, stderr = run("attention.py", "--model_size=demo", "--out=folder.png", PROMPT)
    assert (status, stdout, stderr.count("\n")) == (1, "", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
