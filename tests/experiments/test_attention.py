"""attention.py: its weights equal those of transformers, and the picture shows them."""

import itertools

import attention
import numpy as np
import pytest
from helpers.token_labels import token_labels
from support.experiment_helpers import PNG, PROMPT, run_reference, texts_of


def test_attention_maps_equal_transformers_attentions(model, ids, reference):
    theirs = run_reference(reference, ids, output_attentions=True).attentions
    ours = attention.attention_maps(ids, **model)
    np.testing.assert_allclose(ours, np.concatenate([layer.numpy() for layer in theirs]), atol=1e-5)


def test_each_head_has_its_own_panel(model, ids, encoder):
    maps = attention.attention_maps(ids, **model)[2:4].reshape(8, len(ids), len(ids))
    titles, tokens = [f"title {n}" for n in range(8)], token_labels(encoder, ids)
    figure = attention.draw(maps, tokens, titles, n_columns=4)
    *panels, color_bar = figure.axes
    assert color_bar.get_ylabel() == "weight"
    for axes, weights, title in zip(panels, maps, titles, strict=True):
        (image,) = axes.images
        drawn = image.get_array()
        np.testing.assert_array_equal(drawn.mask, np.triu(np.ones_like(weights), 1))
        np.testing.assert_array_equal(drawn.filled(0), np.tril(weights))
        assert axes.get_title() == title
    assert texts_of(panels[0].get_yticklabels()) == texts_of(panels[7].get_xticklabels()) == tokens


@pytest.mark.parametrize("layer", [None, 5])
def test_layer_selects_the_panels(monkeypatch, model, ids, layer):
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
def test_attention_writes_a_picture(run_experiment, tmp_path, flags):
    status, stdout, stderr = run_experiment("attention.py", "--model_size=demo", *flags, PROMPT)
    assert (status, stdout, stderr) == (0, "attention.png\n", "")
    assert (tmp_path / "attention.png").read_bytes().startswith(PNG)
