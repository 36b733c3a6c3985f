"""Labels of pictures: matplotlib draws the characters of all scripts without a warning, or their escapes."""

import io
import re

import matplotlib
import pytest
from helpers.picture_labels import NO_LETTERS, drawable, picture_labels
from matplotlib.figure import Figure
from support.experiment_helpers import PNG

TEXTS = ["Once·", "naïve", "你好", "مرحبا", "नमस्ते", "🙂👍🏽", "สวัสดี", "한국어", "\U000e0100", "𓀀"]


@pytest.fixture(autouse=True)
def own_fonts():
    """Restore the fonts of matplotlib after each test."""
    with matplotlib.rc_context():
        yield


def draw_texts(texts):
    """Draw texts as the scripts do. pytest turns warnings into errors."""
    figure = Figure()
    figure.suptitle("".join(texts), parse_math=False)
    figure.subplots().set_xticks(range(len(texts)), texts, rotation=30, parse_math=False)
    figure.savefig(io.BytesIO(), format="png")


def unescape(text):
    return re.sub(r"\\u(....)|\\U(.{8})", lambda match: chr(int(match[1] or match[2], 16)), text)


def test_labels_of_all_scripts_are_drawn_without_a_warning():
    labels = drawable(TEXTS)
    draw_texts(labels)
    assert list(map(unescape, labels)) == TEXTS
    assert labels[:2] == TEXTS[:2]


def test_matplotlib_warns_of_characters_without_a_glyph():
    """Otherwise the test above proves nothing."""
    with pytest.raises(UserWarning, match="missing from font"):
        draw_texts(["\U000e0100\U0001fbff𓀀"])


def test_another_font_has_the_missing_characters():
    """matplotlib brings STIXGeneral. Its default font, DejaVu Sans, lacks this letter."""
    with pytest.raises(UserWarning, match="missing from font"):
        draw_texts(["𝔘"])
    assert drawable(["𝔘"]) == ["𝔘"]
    draw_texts(["𝔘"])


def test_fonts_without_letters_are_excluded():
    fonts = ["Noto Color Emoji", "Apple Color Emoji", "LastResort", "Last Resort High-Efficiency"]
    assert all(map(NO_LETTERS.search, fonts))
    assert not any(map(NO_LETTERS.search, ["DejaVu Sans", "Noto Sans CJK SC", "Segoe UI Emoji"]))


def test_half_characters_become_bytes(encoder):
    ids = encoder.encode("你é")
    labels = picture_labels(encoder, ids)
    assert "".join(labels) == r"\xe4\xbd\xa0\xc3\xa9"
    draw_texts(labels)


@pytest.mark.parametrize("script", ["attention.py", "logit_lens.py", "next_token.py"])
def test_pictures_of_other_scripts_print_no_warning(run_experiment, tmp_path, script):
    arguments = ["--model_size=demo", "--out=picture.png", "你好 مرحبا नमस्ते 🙂 สวัสดี"]
    assert run_experiment(script, *arguments, PYTHONWARNINGS="error::UserWarning") == (0, "picture.png\n", "")
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
