"""logit_lens.py: its predictions equal those from transformers' hidden states, and the picture shows them."""

import logit_lens
import numpy as np
import torch
from support.experiment_helpers import PNG, run_reference, texts_of


def test_logit_lens_decodes_transformers_hidden_states(model, ids, reference):
    states = run_reference(reference, ids, output_hidden_states=True).hidden_states
    best, probs = logit_lens.logit_lens(ids, **model)
    n_layer = len(states) - 1
    for row, state in enumerate(states):
        with torch.no_grad():  # transformers has already applied ln_f to its last state
            logits = reference.lm_head(state if row == n_layer else reference.transformer.ln_f(state))[0]
        expected = torch.softmax(logits, dim=-1).max(dim=-1)
        np.testing.assert_allclose(probs[row], expected.values, atol=1e-5)
        np.testing.assert_array_equal(best[row], expected.indices)


def test_logit_lens_uses_a_separate_lm_head(model, ids):
    reversed_wte = model["params"]["wte"][::-1]
    best, _ = logit_lens.logit_lens(ids, {**model["params"], "lm_head": reversed_wte}, model["n_head"])
    expected, _ = logit_lens.logit_lens(ids, **model)
    np.testing.assert_array_equal(best, len(reversed_wte) - 1 - expected)


def test_each_cell_shows_its_word():
    probs = np.array([[0.1, 0.2, 0.3], [0.7, 0.8, 0.9]])
    words = np.array([["a", "b", "$c$"], ["d", "e", "a long word"]])
    axes, _ = logit_lens.draw(probs, words, ["x", "y", "z"]).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), probs)
    assert axes.images[0].origin == "lower"
    placed = {text.get_position(): text.get_text() for text in axes.texts}
    assert placed == {(0, 0): "a", (1, 0): "b", (2, 0): "$c$", (0, 1): "d", (1, 1): "e", (2, 1): "a long w…"}
    assert texts_of(axes.get_xticklabels()) == ["x", "y", "z"]
    assert texts_of(axes.get_yticklabels()) == ["embedding", "layer 0"]


def test_logit_lens_writes_a_picture(run_experiment, tmp_path):
    arguments = ["--model_size=demo", "--out=lens.png", "It costs $1 or $2"]
    assert run_experiment("logit_lens.py", *arguments) == (0, "lens.png\n", "")
    assert (tmp_path / "lens.png").read_bytes().startswith(PNG)
