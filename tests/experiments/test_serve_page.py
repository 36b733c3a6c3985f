"""The page in Chromium: its panels show the numbers of the scripts, and Step and Run the text of gpt2.py."""

import shlex
import subprocess
import sys

import attention
import logit_lens
import next_token
import numpy as np
import pytest
import surprise
from helpers.token_labels import token_labels
from support.api_server import running_server
from support.browser import needs_chromium, open_page
from support.experiment_helpers import PROMPT
from support.paths import ROOT

import gpt2
from generation.batches import text_seed
from generation.min_p_and_repetition import keep_min_p
from generation.scoring import log_softmax
from utils import load_encoder_hparams_and_params

pytest.importorskip("playwright")
pytestmark = needs_chromium


@pytest.fixture
def gpt2_text(encoder, generated_ids):
    """gpt2_text(prompt, n, seed, **sampling): the prompt and its continuation, as `gpt2.py` draws it."""

    def gpt2_text(prompt, n_tokens, seed, **sampling):
        ids = encoder.encode_prompt(prompt)
        seeded = {"seed": text_seed(seed, ids), "temperature": 1.0, **sampling}
        return prompt + encoder.decode(generated_ids(prompt, n_tokens, **seeded))

    return gpt2_text


def next_logits(ids, model):
    return gpt2.gpt2(ids, **model["params"], n_head=model["n_head"], n_logits=1)[-1]


def percent(prob):
    if prob == 0:
        return "0 %"
    return "< 0.1 %" if prob < 0.0005 else f"{100 * prob:.1f} %"


def assert_percents(shown, probs):
    """Numbers may differ by rounding: 0.1 %."""
    assert len(shown) == len(probs)
    for text, prob in zip(shown, probs, strict=True):
        assert text in {percent(prob + change) for change in (-1e-4, 0, 1e-4) if prob + change >= 0}


def test_tokens_have_the_surprisal_of_surprise_py(page, encoder, ids, model):
    page.enter(PROMPT)
    bits = [bits for bits, _ in surprise.surprises([*encoder.start_ids, *ids], **model)]
    assert page.token_labels() == token_labels(encoder, ids)
    assert page.texts("#tokens small:nth-of-type(1)") == [str(token_id) for token_id in ids]
    shown = [float(text.removesuffix(" bits")) for text in page.texts("#tokens small:nth-of-type(2)")]
    np.testing.assert_allclose(shown, bits, atol=0.051)


def test_attention_has_the_weights_of_attention_py(page, ids, model):
    page.enter(PROMPT)
    maps = attention.attention_maps(ids, **model)
    for layer, head, query in [(0, 0, 0), (3, 1, 7), (5, 3, 9)]:
        page.click(f"#heads button:nth-child({4 * layer + head + 1})")
        assert page.texts("#head-title") == [f"Layer {layer}, head {head}"]
        page.tab.hover(f"#reads div:nth-child({query + 1})")
        shown = page.texts("#reads small")
        assert_percents(shown[: query + 1], maps[layer, head, query, : query + 1])
        assert shown[query + 1 :] == ["later"] * (len(ids) - query - 1)


def test_pictures_of_heads_show_the_roots_of_the_weights(page, ids, model):
    """Darker is more. The upper triangle is transparent."""
    page.enter(PROMPT)
    maps = attention.attention_maps(ids, **model)
    pixels = np.reshape(page.pixels("#heads canvas"), (6, 4, len(ids), len(ids), 4))
    lower = np.tri(len(ids), dtype=bool)
    np.testing.assert_array_equal(pixels[..., 3], np.broadcast_to(255 * lower, maps.shape))
    brightness = pixels[..., :3].sum(axis=-1)[..., lower]  # [n_layer, n_head, n_pairs]
    order = np.argsort(maps[..., lower].ravel())
    differences = np.diff(brightness.ravel()[order])
    assert np.all(differences <= 1)
    assert brightness.max() - brightness.min() > 500


def test_the_table_of_a_head_has_its_weights(page, ids, model):
    page.enter(PROMPT)
    page.tab.click("#weights summary")
    page.tab.wait_for_selector("#weights td")
    weights = attention.attention_maps(ids, **model)[3, 1]
    shown = [text for text in page.texts("#weights td") if text]
    assert_percents(shown, weights[np.tri(len(ids), dtype=bool)])


def test_pointing_at_the_picture_reads_a_weight(page, ids, model, encoder):
    page.enter(PROMPT)
    page.tab.locator("#map").scroll_into_view_if_needed()
    box = page.tab.locator("#map").bounding_box()
    page.tab.mouse.move(box["x"] + 1.5 * box["width"] / 10, box["y"] + 7.5 * box["height"] / 10)
    weight = attention.attention_maps(ids, **model)[3, 1, 7, 1]
    assert page.texts("#weight") == [f"·it reads {percent(weight)} from ·cat"]
    assert page.tab.get_attribute("#reads div:nth-child(8)", "aria-selected") == "true"


def test_layers_have_the_predictions_of_logit_lens_py(page, ids, model, encoder):
    page.enter(PROMPT)
    best, probs = logit_lens.logit_lens(ids, **model)
    assert page.texts("#lens td b") == token_labels(encoder, best.ravel().tolist())
    assert_percents(page.texts("#lens td small"), probs.ravel())


def test_a_cell_shows_its_five_most_probable_tokens(page, ids, model, encoder):
    page.enter(PROMPT)
    page.tab.hover("#lens tr:nth-child(8) td:nth-of-type(9)")  # after layer 5, at "was"
    probs = gpt2.softmax(next_logits(ids[:9], model))
    best = np.argsort(-probs)[:5]
    assert page.texts("#best h3") == ["After layer 5, to follow ·was:"]
    assert page.texts("#best b") == token_labels(encoder, best.tolist())
    assert_percents(page.texts("#best small"), probs[best])


def test_sliders_have_the_effect_shown_by_next_token_py(page, ids, model, encoder):
    prompt_ids = ids[:-1]
    page.enter(encoder.decode(prompt_ids))
    logits = next_logits(prompt_ids, model).astype(np.float64)
    expected = next_token.next_token_probabilities(logits, temperature=0.7, top_k=5, top_p=0.6)
    expected["min_p 0.1"] = np.exp(log_softmax(keep_min_p(logits, 0.1)))
    best = np.argsort(-logits)[:20]
    neutral = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0}
    assert list(expected)[1:] == ["temperature 0.7", "top_k 5", "top_p 0.6", "min_p 0.1"]
    for name, probs in expected.items():
        slider, _, value = name.partition(" ")
        changes = {slider: value} if slider in neutral else {}
        for setting, position in (neutral | changes).items():
            page.set_slider(setting, position)
        assert page.texts("#bars b") == token_labels(encoder, best.tolist())
        assert_percents(page.texts("#bars small"), probs[best])


def test_sampler_equals_the_filters_of_gpt2(page):
    """All probabilities of random logits with random settings, also ties and greedy decoding."""
    rng = np.random.default_rng(0)
    for case in range(60):
        logits = rng.normal(scale=3, size=200).round(case % 3)
        settings = {
            "temperature": 0 if case % 10 == 0 else rng.uniform(0.05, 2),
            "top_k": int(rng.integers(0, 30)) * (case % 2),
            "top_p": rng.choice([1, rng.uniform(0.01, 1)]),
            "min_p": rng.choice([0, 1, rng.uniform(0, 1)]),
        }
        script = "async ([...values]) => [...(await import('/sampler.js')).nextProbabilities(...values)]"
        shown = page.evaluate(script, [logits.tolist(), settings])
        np.testing.assert_allclose(shown, filtered(logits, **settings), atol=1e-12)


def filtered(logits, temperature, top_k, top_p, min_p):
    """What `min_p_and_repetition.sample` draws from: logits [n_vocab] -> probabilities [n_vocab]."""
    if temperature == 0:
        return np.eye(len(logits))[np.argmax(logits)]
    logits = gpt2.apply_temperature(logits, temperature)
    logits = gpt2.keep_top_k(logits, top_k) if top_k else logits
    logits = gpt2.keep_top_p(logits, top_p) if top_p < 1 else logits
    logits = keep_min_p(logits, min_p) if min_p else logits
    return gpt2.softmax(logits)


def test_run_and_steps_write_the_text_of_gpt2(page, gpt2_text):
    page.enter("Once upon a time")
    page.tab.fill("#seed", "5")
    page.tab.fill("#n_tokens", "20")
    page.click("#run")
    expected = gpt2_text("Once upon a time", 20, seed=5)
    assert page.text() == expected
    assert page.texts("#status") == ["20 tokens drawn."]
    for _ in range(3):
        page.click("#step")
    assert page.text() == gpt2_text("Once upon a time", 23, seed=5)
    assert page.tab.locator("#tokens .added").count() == 23
    for _ in range(3):
        page.click("#undo")
    assert page.text() == expected
    page.click("#undo")
    assert page.text() == "Once upon a time"
    assert page.tab.get_attribute("#undo", "aria-disabled") == "true"


@pytest.mark.parametrize("prompt", ["Once upon a time", 'It\'s "1 < 2" & $HOME\n\nThe', "-a king", ""])
def test_the_command_prints_the_same_text(page, prompt):
    page.enter(prompt)
    for name, value in {"temperature": 0.8, "top_k": 30, "top_p": 0.95, "min_p": 0.01}.items():
        page.set_slider(name, value)
    page.tab.fill("#n_tokens", "12")
    (command,) = page.texts("#command")
    page.click("#run")
    python, *arguments = shlex.split(command)
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *arguments, "--quiet"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert page.text() == prompt + done.stdout.removesuffix("\n")


def test_a_click_on_a_bar_makes_the_text_the_prompt(page, gpt2_text, ids, encoder):
    page.enter(encoder.decode(ids[:-1]))
    page.click("#step")
    page.click("#undo")
    bars = list(page.bars())
    page.click("#bars li:nth-child(3)")
    prompt = encoder.decode(ids[:-1]) + bars[2].replace("·", " ")
    assert page.text() == prompt
    page.click("#run")
    assert page.text() == gpt2_text(prompt, 40, seed=1)


def test_stop_ends_a_run_and_typing_does_too(browser, endless_model):
    """The model does not end its text."""
    encoder, hparams, params = load_encoder_hparams_and_params(endless_model)
    ids = encoder.encode("Once upon a time")
    with running_server(model_size=str(endless_model)) as server, open_page(browser, server.url) as page:
        page.enter("Once upon a time")
        page.tab.fill("#n_tokens", "1000")
        page.tab.click("#run")
        page.tab.wait_for_selector("#tokens .added:nth-child(8)")
        page.tab.focus("#stop")
        page.tab.keyboard.press("Enter")
        page.wait()
        n_drawn = int(page.texts("#status")[0].split()[0])
        assert 3 < n_drawn < 1000
        options = {"seed": text_seed(1, ids), "temperature": 1.0}
        expected = list(gpt2.generate(ids, params, hparams["n_head"], min(n_drawn, 200), **options))
        assert page.text().startswith("Once upon a time" + encoder.decode(expected))
        page.tab.click("#run")
        page.enter("The king")
        assert page.token_labels() == ["The", "·king"]
        assert page.text() == "The king"


def test_the_end_of_the_text_is_announced(page):
    page.enter("Once upon a time")
    page.tab.fill("#n_tokens", "300")
    page.click("#run")
    assert page.texts("#status")[0].endswith("tokens drawn. The model ended the text.")


def test_an_invalid_seed_is_not_sent(page):
    page.tab.fill("#seed", "-1")
    before = page.text()
    page.click("#step")
    assert page.text() == before
    assert page.evaluate("document.activeElement.id") == "seed"
