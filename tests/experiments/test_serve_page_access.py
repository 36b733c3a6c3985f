"""The page with a keyboard, a screen reader, any width, dark mode, any text, and a server that stops."""

import time

import pytest
from helpers.token_labels import token_labels
from serve.explanations import source_code
from support.api_server import running_server
from support.browser import needs_chromium, open_page
from support.experiment_helpers import PROMPT

pytest.importorskip("playwright")
pytestmark = needs_chromium

LONG = "Once upon a time there was a king who had three sons. " * 30
PROMPTS = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "chinese": "从前有一只猫坐在垫子上",
    "arabic": "كان يا ما كان",
    "emoji": "👩‍👩‍👧 cats\t\r\nand dogs\u0000",
    "template": "${alert(1)} {{7*7}} </textarea></script> &amp; %3Cb%3E",
}


@pytest.mark.parametrize("name", PROMPTS)
def test_any_text_is_shown_as_text(page, encoder, name):
    elements = "document.querySelectorAll('script, img, iframe').length"
    before = page.evaluate(elements)
    page.enter(PROMPTS[name])
    typed = page.text()  # a text area ends lines with \n
    assert page.token_labels() == token_labels(encoder, encoder.encode(typed))
    assert page.texts("#lens tr:first-child th")[1:] == page.token_labels()
    page.click("#bars li:first-child button")
    page.click("#step")
    assert page.text().startswith(typed)
    assert page.evaluate(elements) == before


def test_the_bytes_of_a_character_can_be_chosen_one_by_one(page, encoder):
    """Each click appends a byte. The text shows the character once it is complete."""
    pieces = encoder.encode("猫")
    n_typed = len(encoder.encode("The king and"))
    assert len(pieces) == 3

    def offer(route):
        """Replace the token of the first bar by the next byte."""
        answer = route.fetch().json()
        answer["best"][0] = pieces[(answer["n_tokens"] - n_typed) % 3]
        answer["labels"][answer["best"][0]] = "byte"
        route.fulfill(json=answer)

    page.tab.route("**/inspect", offer)
    page.enter("The king and")
    for text in ("The king and�", "The king and�", "The king and猫"):
        page.click("#bars li:first-child button")
        assert page.text() == text
    page.tab.unroute("**/inspect")
    page.click("#undo")
    page.click("#undo")
    assert page.text() == "The king and�"
    assert page.token_labels() == token_labels(encoder, [*encoder.encode("The king and"), pieces[0]])
    assert not page.tab.is_visible("#command")


def test_a_text_longer_than_the_context_keeps_its_end(page, encoder):
    page.enter(LONG)
    (note,) = page.texts("#note")
    assert note.startswith(f"The text has {len(encoder.encode(LONG))} tokens. The model reads the last 256.")
    assert note.endswith("Attention and Layers show the last 64 tokens.")
    assert page.token_labels() == token_labels(encoder, encoder.encode(LONG)[-256:])
    page.enter(PROMPT)
    assert not page.tab.is_visible("#note")


def test_an_empty_text_starts_from_the_begin_token(page, generated_ids, encoder):
    page.enter("")
    assert page.texts("#note") == ["The text is empty. The model starts from <|endoftext|>."]
    assert page.token_labels() == ["<|endoftext|>"]
    page.set_slider("temperature", 0)
    page.tab.fill("#n_tokens", "5")
    page.click("#run")
    assert page.text() == encoder.decode(generated_ids("", 5))


def test_a_lone_surrogate_is_an_error_and_typing_continues(browser, api_server):
    page = open_page(browser, api_server.url)
    with pytest.raises(AssertionError, match="400"), page as page:  # the browser logs the status
        page.tab.focus("#prompt")
        page.evaluate("document.execCommand('insertText', false, '\\ud800')")
        page.wait()
        assert "lone surrogate" in page.texts("#problem p")[0]
        page.enter("The king")
        assert not page.tab.is_visible("#problem")
        assert page.token_labels() == ["The", "·king"]


def test_outdated_answers_are_dropped(page, encoder):
    """Answers take longer than key presses. The panels end with the newest text."""
    sent = []

    def delay(route):
        sent.append(route.request.post_data_json["text"])
        time.sleep(0.2)
        route.continue_()

    page.tab.route("**/inspect", delay)
    page.tab.fill("#prompt", "")
    page.tab.locator("#prompt").press_sequentially("The king and")
    page.wait()
    assert page.token_labels() == token_labels(encoder, encoder.encode("The king and"))
    assert len(sent) < len("The king and")
    assert sent[-1] == "The king and"


def test_a_stopped_server_is_reported_and_retry_continues(browser, encoder):
    with running_server() as server:
        page = open_page(browser, server.url)
        with pytest.raises(AssertionError, match="ERR_CONNECTION_REFUSED"), page as page:
            server.process.kill()
            server.process.wait()
            for action in (lambda: page.enter("The king"), lambda: page.click("#step")):
                action()
                assert page.texts("#problem p") == ["The server does not answer. Start it again, then retry."]
                assert page.tab.is_visible("#problem")
            assert page.text() == "The king"
            with running_server(f"--port={server.url.rpartition(':')[2]}"):
                page.click("#problem button")
                assert not page.tab.is_visible("#problem")
                assert page.token_labels() == ["The", "·king"]
                page.click("#step")
                assert len(page.token_labels()) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_no_width_needs_horizontal_scrolling(browser, api_server, width, scheme):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with open_page(browser, api_server.url, **options) as page:
        for text in (PROMPT, LONG, "a" * 500, "从前有一只猫坐在垫子上"):
            page.enter(text)
            assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_reports_no_violation(browser, api_server, width, scheme):
    pytest.importorskip("axe_playwright_python")
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with open_page(browser, api_server.url, **options) as page:
        assert page.violations() == []
        page.enter("Once upon a time there was a 猫 refrigerator")
        page.set_slider("top_k", 5)
        page.click("#step")
        for summary in page.tab.locator("summary").all():
            summary.click()
        assert page.violations() == []


def test_dark_mode_is_dark_and_pictures_follow_it(browser, api_server):
    def brightness(page):
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ((red, green, blue, *_),) = page.pixels("#map canvas")
        numbers = background.removeprefix("rgb(").removesuffix(")").split(",")
        return sum(map(int, numbers)), red + green + blue

    with open_page(browser, api_server.url, color_scheme="light") as page:
        page_light, weight_light = brightness(page)
        page.tab.emulate_media(color_scheme="dark")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page_dark, weight_dark = brightness(page)
    assert page_light > 700 and page_dark < 80
    assert weight_light < 250 and weight_dark > 600  # the weight is 1


def test_the_keyboard_reaches_every_control(page):
    """Tab visits each control once, in the order of the page, with a visible focus."""
    page.evaluate("document.activeElement.blur()")
    visited = []
    for _ in range(60):
        page.tab.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.closest('[id], body').id")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", name
        if name not in visited:
            visited.append(name)
        if name == "command":
            break
    order = ["prompt", "tokens", "heads", "reads", "weights", "lens", "bars"]
    order += ["temperature", "top_k", "top_p", "min_p", "seed", "n_tokens"]
    order += ["step", "run", "stop", "undo", "command"]
    assert [name for name in visited if name in order] == order


def test_everything_works_with_the_keyboard_alone(page, encoder):
    press = page.tab.keyboard.press
    page.tab.focus("#prompt")
    press("ControlOrMeta+a")
    page.tab.keyboard.type("The king and")
    page.wait()
    assert page.token_labels() == token_labels(encoder, encoder.encode("The king and"))

    page.tab.focus("#heads [tabindex='0']")  # layer 3, head 1
    moves = {"ArrowRight": (3, 2), "ArrowDown": (4, 2), "ArrowLeft": (4, 1), "Home": (0, 0)}
    moves |= {"ArrowUp": (0, 0), "End": (5, 3)}
    for key, (layer, head) in moves.items():
        press(key)
        assert page.texts("#head-title") == [f"Layer {layer}, head {head}"]

    page.tab.focus("#reads [tabindex='0']")
    press("ArrowLeft")
    assert page.texts("#reads-title") == ["In this head, ·king reads from:"]

    page.tab.focus("#lens [tabindex='0']")
    press("ArrowUp")
    assert page.texts("#best h3") == ["After layer 4, to follow ·and:"]
    press("ArrowLeft")
    assert page.texts("#best h3") == ["After layer 4, to follow ·king:"]

    first = page.texts("#bars b")[0]
    page.tab.focus("#bars button")
    press("Enter")
    page.wait()
    assert page.text() == "The king and" + first.replace("·", " ")
    page.tab.focus("#temperature")
    press("ArrowLeft")
    assert page.texts("#sampler output")[0] == "0.95"
    for name, n_tokens in [("step", 5), ("undo", 4), ("undo", 3)]:
        page.tab.focus(f"#{name}")
        press("Enter")
        page.wait()
        assert len(page.token_labels()) == n_tokens
        assert page.evaluate("document.activeElement.id") == name


def test_each_panel_explains_itself(page):
    code = source_code()
    for section in page.tab.locator("section").all():
        panel = section.get_attribute("data-panel")
        assert section.locator(".shapes").text_content().startswith("Shapes for this text: ")
        section.locator("summary", has_text="The code").click()
        listings = section.locator("pre[aria-label*='from line']")
        assert listings.all_text_contents() == [entry["code"] for entry in code[panel]]
    assert "weights: [4, 9, 9]" in page.texts("[data-panel=attention] .shapes")[0]


def test_animations_respect_the_setting(browser, api_server):
    for motion, duration in [("reduce", "0s"), ("no-preference", "0.12s")]:
        with open_page(browser, api_server.url, reduced_motion=motion) as page:
            style = "getComputedStyle(document.querySelector('#bars i'), '::before').transitionDuration"
            assert page.evaluate(style) == duration
