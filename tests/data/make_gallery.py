"""Draw the pictures of experiments/README.md: run the command above each picture.

    PYTHONPATH=.:tests:experiments python tests/data/make_gallery.py

It needs the packages of experiments/requirements-dev.txt, and Chromium for two pictures.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from support.api_server import running_server
from support.browser import open_page, running_browser
from support.paths import EXPERIMENTS, ROOT

README = (EXPERIMENTS / "README.md").read_text(encoding="utf-8")
COMMANDS_AND_PICTURES = re.compile(r"^```sh\n((?:(?!```).*\n)+)```\n((?:!\[.*\n)+)", re.MULTILINE)
PROMPT = "The cat sat on the mat because it was tired"


def run(command, *flags):
    """Run a command of README.md from the root of the project."""
    python, *arguments = shlex.split(command)
    assert python == "python"
    subprocess.run([sys.executable, *arguments, *flags], cwd=ROOT, check=True)


def photograph_surprise(browser, command, picture):
    """Save the web page of surprise.py as a picture, with the mouse on the token " green"."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "surprise.html")
        run(command, f"--html={page}")
        tab = browser.new_page(viewport={"width": 1150, "height": 190})
        tab.goto(page.as_uri())
        tab.locator("span", has_text="green").hover()
        picture.write_bytes(tab.screenshot())


def photograph_page(browser, picture):
    """Save the first three panels of serve.py as a picture."""
    with running_server() as server, open_page(browser, server.url) as page:
        page.enter(PROMPT)
        page.tab.evaluate("document.activeElement.blur()")
        page.tab.mouse.move(5, 5)
        box = page.tab.locator("[data-panel=layers]").bounding_box()
        clip = {"x": 0, "y": 0, "width": 1280, "height": box["y"] + box["height"] + 16}
        picture.write_bytes(page.tab.screenshot(full_page=True, clip=clip))


with running_browser() as browser:
    for commands, links in COMMANDS_AND_PICTURES.findall(README):
        pictures = [EXPERIMENTS / name for name in re.findall(r"\((.*?\.png)\)", links)]
        for command, picture in zip(commands.splitlines()[-len(pictures) :], pictures, strict=True):
            if "serve.py" in command:
                photograph_page(browser, picture)
            elif "surprise.py" in command:
                photograph_surprise(browser, command, picture)
            else:
                run(command, f"--out={picture}")
            colors = Image.open(picture).convert("RGB").quantize(256)  # a third of the size
            colors.save(picture, optimize=True)
