"""patch.py: its runs equal transformers' GPT-2 with forward hooks that patch hidden states."""

import numpy as np
import patch
import pytest
from helpers.hidden_states import hidden_states
from support.experiment_helpers import PNG, run_reference, texts_of

import gpt2

CLEAN = 'Anna lost her red hat. "What color is it?" asked Tom. "It is'
CORRUPTED = CLEAN.replace("red", "blue")


@pytest.fixture
def pair(encoder):
    """The ids of both prompts."""
    return [encoder.encode(text) for text in (CLEAN, CORRUPTED)]


@pytest.fixture
def states(pair, model):
    """The hidden states of both prompts."""
    return [hidden_states(ids, **model) for ids in pair]


def reference_patched_logits(reference, pair, layer, positions):
    """Two runs of transformers: a hook records the clean input of a layer, another one patches it."""
    blocks = reference.transformer.h
    module = blocks[layer] if layer < len(blocks) else reference.transformer.ln_f
    recorded = []
    hook = module.register_forward_pre_hook(lambda module, inputs: recorded.append(inputs[0].clone()))
    run_reference(reference, pair[0])
    hook.remove()

    def patch_input(module, inputs):
        x = inputs[0].clone()
        x[:, positions] = recorded[0][:, positions]
        return (x, *inputs[1:])

    hook = module.register_forward_pre_hook(patch_input)
    logits = run_reference(reference, pair[1]).logits[0, -1]
    hook.remove()
    return logits.numpy()


@pytest.mark.parametrize("positions", [3, 17, [3, 5, 17], slice(2, 9)])
@pytest.mark.parametrize("layer", range(7))
def test_patched_logits_equal_transformers_with_hooks(model, pair, states, reference, layer, positions):
    logits = patch.patched_logits(*states, layer, positions, **model)
    expected = reference_patched_logits(reference, pair, layer, positions)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("layer", range(7))
def test_patching_everything_gives_the_clean_run_exactly(model, pair, states, layer):
    clean_logits = gpt2.gpt2(pair[0], **model["params"], n_head=model["n_head"], n_logits=1)[0]
    patched = patch.patched_logits(*states, layer, slice(None), **model)
    np.testing.assert_array_equal(patched, clean_logits)


@pytest.mark.parametrize("layer", range(7))
def test_patching_nothing_gives_the_corrupted_run_exactly(model, pair, states, layer):
    corrupted_logits = gpt2.gpt2(pair[1], **model["params"], n_head=model["n_head"], n_logits=1)[0]
    patched = patch.patched_logits(*states, layer, [], **model)
    np.testing.assert_array_equal(patched, corrupted_logits)


def test_patching_leaves_the_hidden_states_unchanged(model, states):
    before = [x.copy() for x in states]
    patch.patched_logits(*states, 2, slice(None), **model)
    np.testing.assert_array_equal(states, before)


def test_map_equals_transformers_with_hooks(encoder, model, pair, reference):
    answers = [encoder.encode(" red")[0], encoder.encode(" blue")[0]]
    restored = patch.restored_metric(*pair, answers, **model)

    def metric(logits):
        return logits[answers[0]] - logits[answers[1]]

    clean, corrupted = (metric(run_reference(reference, ids).logits[0, -1]).item() for ids in pair)
    assert restored.shape == (7, len(pair[0]))
    for (layer, position), value in np.ndenumerate(restored):
        patched = metric(reference_patched_logits(reference, pair, layer, position))
        assert value == pytest.approx((patched - corrupted) / (clean - corrupted), abs=1e-4)


def test_picture_shows_the_map(monkeypatch, encoder, model, pair):
    drawn = []
    monkeypatch.setattr(patch, "write_picture", lambda path, figure: drawn.append(figure))
    patch.main(CLEAN, corrupted=CORRUPTED, model_size="demo")
    answers = [encoder.encode(" red")[0], encoder.encode(" blue")[0]]
    axes = drawn[0].axes[0]
    (image,) = axes.images
    restored = patch.restored_metric(*pair, answers, **model)
    np.testing.assert_array_equal(image.get_array(), restored)
    assert image.get_clim() == (-restored.max(), restored.max())
    labels = texts_of(axes.get_xticklabels())
    assert labels[2:5] == ["·her", "·red / ·blue", "·hat"] and len(labels) == len(pair[0])
    assert texts_of(axes.get_yticklabels()) == ["embedding", *(f"layer {layer}" for layer in range(6))]
    assert "(·red)" in axes.get_title() and "(·blue)" in axes.get_title()


def test_patch_writes_a_picture(run_experiment, tmp_path):
    result = run_experiment("patch.py", "--model_size=demo", f"--corrupted={CORRUPTED}", CLEAN)
    assert result == (0, "patch.png\n", "")
    assert (tmp_path / "patch.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--corrupted must have 18 tokens like the prompt, not 0"),
        (["--corrupted=Anna"], "--corrupted must have 18 tokens like the prompt, not 1"),
        ([f"--corrupted={CLEAN}"], "the most probable next token of both prompts is ·red"),
    ],
)
def test_bad_pairs_of_prompts_are_rejected(run_experiment, tmp_path, flags, message):
    result = run_experiment("patch.py", "--model_size=demo", *flags, CLEAN)
    assert result == (2, "", f"patch.py: {message}\n")
    assert list(tmp_path.iterdir()) == []
