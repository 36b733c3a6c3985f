"""attribution.py: its parts equal those from hooks on transformers' GPT-2, and they sum to the logits."""

import attribution
import numpy as np
import pytest
import torch
from helpers.layer_map import draw_layer_map
from support.experiment_helpers import PNG, PROMPT, run_reference, texts_of


def record(module):
    """A list that a forward hook fills with (input, output) of the module for the last token."""
    calls = []
    module.register_forward_hook(
        lambda module, inputs, output: calls.append((inputs[0][0, -1].double(), output[0, -1].double()))
    )
    return calls


def frozen_gradient(ln_f, state, direction):
    """The gradient of ln_f(state) @ direction, with a constant standard deviation. -> [n_embd]"""
    state = state.clone().requires_grad_()
    scale = torch.sqrt(state.var(unbiased=False) + ln_f.eps).detach()
    normalized = (state - state.mean()) / scale * ln_f.weight.double() + ln_f.bias.double()
    (normalized @ direction.double()).backward()
    return state.grad


@pytest.fixture
def direction(model):
    """The row of the output matrix for token 300 minus that for token 500, [n_embd]."""
    return model["params"]["wte"][300] - model["params"]["wte"][500]


def test_parts_equal_those_from_hooks(model, ids, reference, direction):
    transformer = reference.transformer
    embeddings, final = record(transformer.drop), record(transformer.ln_f)
    c_projs = [record(block.attn.c_proj) for block in transformer.h]
    mlps = [record(block.mlp) for block in transformer.h]
    run_reference(reference, ids)
    gradient = frozen_gradient(transformer.ln_f, final[0][0], torch.tensor(direction))
    expected = []
    for block, c_proj, mlp in zip(transformer.h, c_projs, mlps, strict=True):
        heads = c_proj[0][0]  # [n_embd]: 4 heads of 64 numbers
        for start in range(0, 256, 64):
            part = heads[start : start + 64] @ block.attn.c_proj.weight[start : start + 64].double()
            expected.append(part @ gradient)
        expected += [block.attn.c_proj.bias.double() @ gradient, mlp[0][1] @ gradient]
    blocks, from_embeddings, from_bias = attribution.attribution(ids, **model, direction=direction)
    np.testing.assert_allclose(blocks.ravel(), torch.stack(expected).detach(), atol=1e-5)
    assert from_embeddings == pytest.approx((embeddings[0][1] @ gradient).item(), abs=1e-5)
    assert from_bias == pytest.approx(transformer.ln_f.bias.detach().numpy() @ direction, abs=1e-5)


@pytest.mark.parametrize("token_id", [0, 300, 4095])
def test_parts_sum_to_the_logit(model, ids, reference, token_id):
    row = model["params"]["wte"][token_id]
    blocks, embeddings, bias = attribution.attribution(ids, **model, direction=row)
    logit = run_reference(reference, ids).logits[0, -1, token_id].item()
    assert blocks.sum() + embeddings + bias == pytest.approx(logit, rel=0, abs=1e-4)


def test_parts_sum_to_the_difference_of_two_logits(model, ids, reference, direction):
    blocks, embeddings, bias = attribution.attribution(ids, **model, direction=direction)
    logits = run_reference(reference, ids).logits[0, -1]
    difference = (logits[300] - logits[500]).item()
    assert blocks.sum() + embeddings + bias == pytest.approx(difference, rel=0, abs=1e-4)


def test_epsilon_of_the_model_counts(model, ids):
    """A large epsilon makes all parts smaller, except the bias."""
    params = model["params"]
    changed = {**params, "ln_f": {**params["ln_f"], "eps": 1e3}}
    *parts, bias = attribution.attribution(ids, **model, direction=params["wte"][0])
    *smaller, same_bias = attribution.attribution(ids, changed, model["n_head"], params["wte"][0])
    states = attribution.hidden_state_parts(ids, **model)
    variance = (states[0] + states[1].sum(axis=(0, 1))).var()
    ratio = np.sqrt((variance + 1e-5) / (variance + 1e3))
    for part, small in zip(parts, smaller, strict=True):
        np.testing.assert_allclose(small, part * ratio, rtol=1e-4, atol=1e-6)
    assert bias == same_bias


def test_each_cell_shows_its_number():
    values = np.array([[-1, 0.25, -0.001], [0.5, 2, 0]])
    figure = draw_layer_map(values, ["layer 0", "layer 1"], ["a", "$b$", "c"], "title", "label")
    axes, color_bar = figure.axes
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), values)
    assert image.origin == "lower" and image.get_clim() == (-2, 2)
    placed = {text.get_position(): text.get_text() for text in axes.texts}
    assert placed == {
        **{(0, 0): "-1.00", (1, 0): "0.25", (2, 0): "0.00"},
        **{(0, 1): "0.50", (1, 1): "2.00", (2, 1): "0.00"},
    }
    assert texts_of(axes.get_xticklabels()) == ["a", "$b$", "c"]
    assert texts_of(axes.get_yticklabels()) == ["layer 0", "layer 1"]
    assert axes.get_title() == "title" and color_bar.get_ylabel() == "label"


def test_picture_shows_the_parts(monkeypatch, encoder, model, reference):
    drawn = []
    monkeypatch.setattr(attribution, "write_picture", lambda path, figure: drawn.append(figure))
    attribution.main(PROMPT, token=" and", other=" king", model_size="demo")
    pair = [encoder.encode(" and")[0], encoder.encode(" king")[0]]
    rows = model["params"]["wte"][pair]
    blocks, embeddings, bias = attribution.attribution(
        encoder.encode(PROMPT), **model, direction=rows[0] - rows[1]
    )
    axes = drawn[0].axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), blocks)
    assert texts_of(axes.get_xticklabels()) == ["head 0", "head 1", "head 2", "head 3", "bias", "MLP"]
    assert texts_of(axes.get_yticklabels()) == [f"layer {layer}" for layer in range(6)]
    logits = run_reference(reference, encoder.encode(PROMPT)).logits[0, -1, pair]
    assert axes.get_title() == (
        f"logit of ·and − logit of ·king = {logits[0] - logits[1]:.2f}\n"
        f"embeddings {embeddings:.2f}, bias of ln_f {bias:.2f}, and:"
    )


def test_attribution_writes_a_picture(run_experiment, tmp_path):
    result = run_experiment("attribution.py", "--model_size=demo", "--token= and", "--other= king", PROMPT)
    assert result == (0, "attribution.png\n", "")
    assert (tmp_path / "attribution.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--other= king"], "--token must be one token, but '' has 0"),
        (["--token= king"], "--other must be one token, but '' has 0"),
        (["--token= king", "--other= the king"], "--other must be one token, but ' the king' has 2"),
        (["--token= king", "--other= king"], "--token and --other must differ"),
    ],
)
def test_bad_tokens_are_rejected(run_experiment, tmp_path, flags, message):
    result = run_experiment("attribution.py", "--model_size=demo", *flags, PROMPT)
    assert result == (2, "", f"attribution.py: {message}\n")
    assert list(tmp_path.iterdir()) == []
