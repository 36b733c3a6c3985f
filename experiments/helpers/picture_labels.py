"""Labels that matplotlib can draw: it has no font of its own for many scripts."""

import logging
import re

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

from helpers.token_labels import token_labels

REGULAR = 400  # the weight of normal text
NO_LETTERS = re.compile("color|last ?resort", re.IGNORECASE)  # fonts of images, or of a box per character

# matplotlib reports each fallback font that has no regular weight.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def picture_labels(encoder, ids):
    """Decode each token on its own, for a picture."""
    return drawable(token_labels(encoder, ids))


def drawable(texts):
    """Replace each character that no font has by an escape: ["你 is"] -> ["\\u4f60 is"]."""
    escapes = {ord(char): escape(char) for char in add_fallback_fonts("".join(texts))}
    return [text.translate(escapes) for text in texts]


def add_fallback_fonts(text):
    """Let matplotlib fall back to fonts of the system. Returns the characters that no font has."""
    missing = set(text)
    for name in rcParams["font.family"]:
        missing -= characters_in(name, missing)
    for font in sorted(fontManager.ttflist, key=lambda font: (font.weight != REGULAR, font.name)):
        if missing and not NO_LETTERS.search(font.name):
            found = characters_in(font.name, missing)
            if found:
                rcParams["font.family"] = [*rcParams["font.family"], font.name]
            missing -= found
    return missing


def characters_in(font_name, characters):
    """Returns the characters that a font has."""
    font = get_font(findfont(FontProperties(family=[font_name])))
    return {char for char in characters if font.get_char_index(ord(char))}


def escape(char):
    """Escape a character as Python does: "你" -> "\\u4f60"."""
    return char.encode("ascii", errors="backslashreplace").decode()
