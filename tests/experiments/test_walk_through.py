"""docs/how-gpt2-works.md as a notebook, and its pictures."""

import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from support.documents import WALK_THROUGH, assert_same_output, code_blocks, links, outputs_of
from support.experiment_helpers import run_reference, texts_of
from support.paths import ROOT
from support.walk_through_pictures import make_pictures, run_snippets


@pytest.fixture(scope="module")
def page():
    """The variables of the document."""
    return run_snippets(WALK_THROUGH)


@pytest.fixture(scope="module")
def pictures(page):
    """{name: Figure}."""
    return dict(make_pictures(page))


@pytest.mark.filterwarnings("default")  # of Jupyter's own packages
def test_the_notebook_prints_the_output_shown(tmp_path):
    """The command of the page writes it to docs/, and Jupyter runs a notebook in its own folder."""
    (command,) = re.findall("^`(jupytext .*)`$", WALK_THROUGH.read_text(encoding="utf-8"), re.MULTILINE)
    output = tmp_path / "notebook.ipynb"
    run_command = [sys.executable, "-m", *command.split(), "--output", output]
    subprocess.run(run_command, cwd=ROOT, check=True, capture_output=True)
    notebook = nbformat.read(output, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": WALK_THROUGH.parent}}).execute()
    printed = {
        cell.source: "".join(output.text for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    assert len(printed) == [language for language, _ in code_blocks(WALK_THROUGH)].count("python")
    for code, output in outputs_of(WALK_THROUGH, "python"):
        assert_same_output(output, printed[code.rstrip("\n")])


def test_every_picture_of_the_page_is_drawn(pictures):
    shown = [link for link in links(WALK_THROUGH) if link.endswith(".png")]
    assert [f"pictures/{name}.png" for name in pictures] == shown


def test_the_triangles_show_the_attention_of_transformers(pictures, page, reference):
    expected = run_reference(reference, page["ids"], output_attentions=True).attentions[3][0]
    for axes, weights in zip(pictures["heads"].axes, expected.numpy(), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array().filled(0), weights, atol=1e-5)


def test_the_table_shows_the_predictions_of_transformers(pictures, page, reference):
    probs = run_reference(reference, page["ids"]).logits[0].softmax(dim=-1)
    (axes,) = pictures["logits"].axes
    top = probs.topk(3)
    np.testing.assert_allclose(axes.images[0].get_array(), top.values, atol=1e-4)
    tokens = [page["encoder"].decode([token_id]) for token_id in top.indices.ravel().tolist()]
    labels = [token.replace(" ", "·") for token in tokens]
    assert [text.split("  ")[0] for text in texts_of(axes.texts)] == labels


def test_the_bars_sum_to_the_bytes_of_the_page(pictures, page):
    (axes,) = pictures["speed"].axes
    n_bytes = page["weight_bytes"](n_vocab=50257, n_embd=768, n_layer=12)
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(n_bytes / 1e6)
