"""next_token.py: its probabilities equal those of transformers' warpers, and the picture shows them."""

import next_token
import numpy as np
import pytest
import torch
import transformers
from support.experiment_helpers import PNG, PROMPT, run_reference, texts_of


def test_probabilities_equal_transformers_warpers(ids, reference):
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


def test_each_probability_has_a_bar():
    settings = {"one": np.array([0.5, 0.25, 0.125]), "two": np.array([0.75, 0.25, 0])}
    panels = next_token.draw(settings, ["a", "b", "c"], "title").axes
    for axes, (name, probs) in zip(panels, settings.items(), strict=True):
        assert axes.get_title() == name
        np.testing.assert_array_equal([bar.get_width() for bar in axes.patches], probs)
        assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == [0, 1, 2]
    assert texts_of(panels[0].get_yticklabels()) == ["a", "b", "c"]
    assert panels[0].yaxis_inverted() and panels[1].yaxis_inverted()
    assert texts_of(panels[1].texts) == ["75.0%", "25.0%", ""]


def test_next_token_writes_a_picture(run_experiment, tmp_path):
    result = run_experiment("next_token.py", "--model_size=demo", PROMPT)
    assert result == (0, "next_token.png\n", "")
    assert (tmp_path / "next_token.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    "flag", ["--temperature=0", "--temperature=-1", "--top_k=0", "--top_p=0", "--n_tokens=101"]
)
def test_out_of_range_settings_are_rejected(run_experiment, flag):
    status, stdout, stderr = run_experiment("next_token.py", "--model_size=demo", flag, PROMPT)
    assert (status, stdout) == (2, "")
    assert flag[2:].partition("=")[0] in stderr
