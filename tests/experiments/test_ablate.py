"""ablate.py: its costs equal those of hooks in transformers, which replace the same outputs."""

from types import SimpleNamespace

import ablate
import numpy as np
import pytest
import torch
from support.experiment_helpers import PNG, PROMPT, run_reference, texts_of
from torch.nn.functional import cross_entropy


def replace(output, ablation):
    """[1, n_seq, n] -> the same shape: zeros, or the mean over the tokens."""
    return torch.zeros_like(output) if ablation == "zero" else output.mean(1, keepdim=True).expand_as(output)


def reference_loss(reference, ids):
    """The loss of transformers, in float64."""
    logits = run_reference(reference, ids[:-1]).logits[0].double()
    return cross_entropy(logits, torch.tensor(ids[1:])).item()


def reference_costs(reference, ids, ablation):
    """The cost of each head and MLP, with hooks. -> [n_layer][n_head + 1]."""
    intact, costs = reference_loss(reference, ids), []
    for block in reference.transformer.h:
        row = []
        for head in range(block.attn.num_heads):
            columns = slice(head * block.attn.head_dim, (head + 1) * block.attn.head_dim)

            def change_head(module, inputs, columns=columns):
                heads = inputs[0].clone()
                heads[..., columns] = replace(heads[..., columns], ablation)
                return (heads,)

            with block.attn.c_proj.register_forward_pre_hook(change_head):
                row.append(reference_loss(reference, ids) - intact)
        with block.mlp.register_forward_hook(lambda module, inputs, output: replace(output, ablation)):
            row.append(reference_loss(reference, ids) - intact)
        costs.append(row)
    return costs


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_costs_equal_hooks_in_transformers(model, ids, reference, ablation):
    ours = list(ablate.ablation_costs(ids, **model, ablation=ablation))
    expected = np.array(reference_costs(reference, ids, ablation))
    assert np.all(np.abs(expected).max(axis=0) > 1e-3)  # each column has an effect
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_picture_shows_the_costs(monkeypatch, model, encoder, ids, ablation):
    drawn = []
    monkeypatch.setattr(ablate, "write_picture", lambda path, figure: drawn.append(figure))
    ablate.main(PROMPT, ablation=ablation, model_size="demo")
    axes, color_bar = drawn[0].axes
    text_ids = [encoder.end_of_text, *ids]
    costs = np.array(list(ablate.ablation_costs(text_ids, **model, ablation=ablation)))
    np.testing.assert_array_equal(axes.images[0].get_array(), costs)
    assert axes.images[0].get_clim()[1] == np.abs(costs[:, :4]).max()
    assert axes.get_title() == f"{ablation} ablation"
    assert color_bar.get_ylabel() == "cost in nats per token"
    assert texts_of(axes.get_xticklabels()) == ["head 0", "head 1", "head 2", "head 3", "MLP"]
    assert texts_of(axes.get_yticklabels()) == [f"layer {layer}" for layer in range(6)]


def test_ablate_writes_a_picture(run_experiment, tmp_path):
    result = run_experiment("ablate.py", "--model_size=demo", "--ablation=mean", PROMPT)
    assert result == (0, "ablate.png\n", "")
    assert (tmp_path / "ablate.png").read_bytes().startswith(PNG)


def test_unknown_ablation_is_rejected(run_experiment):
    result = run_experiment("ablate.py", "--model_size=demo", "--ablation=median", PROMPT)
    assert result == (2, "", "ablate.py: ablation must be zero or mean, not median\n")


def test_text_longer_than_the_context_is_rejected(run_experiment):
    status, stdout, stderr = run_experiment("ablate.py", "--model_size=demo", " king" * 300)
    assert (status, stdout) == (2, "")
    assert stderr == "ablate.py: the text has 300 tokens, but the context of this model is 256\n"


def test_longest_text_that_fits_is_accepted(run_experiment):
    status, _, stderr = run_experiment("ablate.py", "--model_size=demo", " king" * 256)
    assert (status, stderr) == (0, "")


def test_text_without_a_token_to_predict_is_rejected(monkeypatch, demo):
    """A model without <|endoftext|> does not predict the first token."""
    encoder, *rest = demo
    without_start = SimpleNamespace(start_ids=[], encode=encoder.encode)
    monkeypatch.setattr(ablate, "load_encoder_hparams_and_params", lambda model_size: (without_start, *rest))
    with pytest.raises(ValueError, match="there is no token to predict"):
        ablate.main(" king")
