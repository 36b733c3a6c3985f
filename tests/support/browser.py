"""A real browser: Chromium, driven by playwright."""

import contextlib
import os
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, such as Debian's package")


@contextlib.contextmanager
def running_browser():
    """Yields a playwright Browser."""
    from playwright.sync_api import sync_playwright

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if is_root else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@contextlib.contextmanager
def open_page(browser, url, **options):
    """Yields a Page. At the end it has written nothing to the console, and asked no other host."""
    page = Page(browser, url, **options)
    yield page
    page.context.close()
    assert page.problems == [], page.problems


class Page:
    """The page in a tab. It records console messages, errors, and requests to other hosts."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.url, self.problems = url, []
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(60_000)
        self.tab.on("console", lambda message: self.problems.append(message.text))
        self.tab.on("pageerror", lambda error: self.problems.append(str(error)))
        self.tab.on("request", self.check_host)
        self.tab.goto(url)
        self.wait()

    def check_host(self, request):
        if not request.url.startswith((self.url, "data:")):
            self.problems.append(f"request to {request.url}")

    def wait(self):
        """Wait until the panels show the newest text, and no tokens are being drawn."""
        self.tab.wait_for_selector("main:has(#stop[aria-disabled=true])[aria-busy=false]")

    def enter(self, text):
        """Replace the text."""
        self.tab.fill("#prompt", text)
        self.wait()

    def click(self, selector):
        self.tab.click(selector)
        self.wait()

    def text(self):
        return self.tab.input_value("#prompt")

    def texts(self, selector):
        """The texts of all elements that match."""
        return self.tab.locator(selector).all_text_contents()

    def set_slider(self, name, value):
        """Set a slider as a user does: the value, then the event."""
        self.tab.locator(f"#{name}").evaluate(
            "(slider, value) => {"
            "slider.value = value; slider.dispatchEvent(new Event('input', { bubbles: true })) }",
            str(value),
        )

    def token_labels(self):
        return self.texts("#tokens b")

    def bars(self):
        """{label of a bar: its text}."""
        return dict(zip(self.texts("#bars b"), self.texts("#bars small"), strict=True))

    def pixels(self, selector):
        """The red, green, blue and opacity of the pixels of each canvas, one after the other."""
        return self.tab.evaluate(
            """selector => [...document.querySelectorAll(selector)].map((canvas) => {
                const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
                copy.drawImage(canvas, 0, 0);
                return [...copy.getImageData(0, 0, canvas.width, canvas.height).data];
            })""",
            selector,
        )

    def evaluate(self, script, argument=None):
        return self.tab.evaluate(script, argument)

    def violations(self):
        """The rules of axe-core that the page violates, with the elements."""
        from axe_playwright_python.sync_playwright import Axe

        results = Axe().run(self.tab).response
        return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in results["violations"]]
