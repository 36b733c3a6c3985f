"""The numbers of the page equal those of transformers and of the scripts, and its draws those of gpt2.py."""

import base64
import inspect
from pathlib import Path

import attention
import logit_lens
import numpy as np
import pytest
import surprise
import torch
from helpers.token_labels import token_labels
from serve.drawing import draw_tokens
from serve.explanations import PANELS, source_code
from serve.inspection import inspect_ids
from serve.loaded_model import LoadedModel
from support.experiment_helpers import run_reference

import gpt2
from generation.batches import text_seed
from generation.min_p_and_repetition import sample

SAMPLING = {"temperature": 0.9, "top_k": 50, "top_p": 0.95, "min_p": 0.01}


@pytest.fixture
def loaded(demo):
    return LoadedModel("demo", *demo)


@pytest.fixture
def long_ids(encoder):
    """100 tokens: more than the panels Attention and Layers show, fewer than the context."""
    return (20 * encoder.encode("Once upon a time there was a king who had three sons."))[:100]


def from_base64(text, dtype, *shape):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(*shape)


def weights_of(panels):
    return from_base64(panels["attention"], "<u2", 6, 4, panels["n_shown"], panels["n_shown"]) / 65535


def test_panels_equal_transformers(loaded, ids, reference):
    panels = inspect_ids(loaded, ids, [])
    outputs = run_reference(reference, ids, output_attentions=True, output_hidden_states=True)
    assert (panels["ids"], panels["n_shown"]) == (ids, len(ids))
    theirs = np.concatenate([layer.numpy() for layer in outputs.attentions])
    np.testing.assert_allclose(weights_of(panels), theirs, atol=2e-5)
    logits = from_base64(panels["logits"], "<f4", 4096)
    np.testing.assert_allclose(logits, outputs.logits[0, -1], atol=1e-4)
    assert panels["best"] == outputs.logits[0, -1].topk(20).indices.tolist()
    *states, last = outputs.hidden_states  # transformers has already applied ln_f to its last state
    states = [*map(reference.transformer.ln_f, states), last]
    assert len(panels["lens"]["ids"]) == len(states) == 7
    for row, state in enumerate(states):
        top = torch.softmax(reference.lm_head(state)[0], dim=-1).topk(5)
        assert panels["lens"]["ids"][row] == top.indices.tolist()
        np.testing.assert_allclose(panels["lens"]["probs"][row], top.values.detach(), atol=1e-5)


def test_surprisal_equals_transformers_loss(loaded, encoder, ids, reference):
    whole = torch.tensor([[encoder.end_of_text, *ids]])
    loss = reference(whole, labels=whole).loss.item()
    assert np.mean(inspect_ids(loaded, ids, [])["bits"]) * np.log(2) == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("n_ids", [1, 10, 100])
def test_panels_equal_the_scripts(loaded, model, long_ids, n_ids):
    ids = long_ids[:n_ids]
    n_shown = min(n_ids, 64)
    panels = inspect_ids(loaded, ids, [])
    assert panels["n_shown"] == n_shown
    maps = attention.attention_maps(ids, **model)[..., -n_shown:, -n_shown:]
    np.testing.assert_allclose(weights_of(panels), maps, atol=2e-5)
    best, probs = logit_lens.logit_lens(ids, **model)
    np.testing.assert_array_equal(np.array(panels["lens"]["ids"])[..., 0], best[:, -n_shown:])
    np.testing.assert_allclose(np.array(panels["lens"]["probs"])[..., 0], probs[:, -n_shown:], atol=1e-5)
    bits = [bits for bits, _ in surprise.surprises([*loaded.encoder.start_ids, *ids], **model)]
    np.testing.assert_allclose(panels["bits"], bits, atol=1e-3)


def test_the_first_token_has_no_surprisal_without_a_begin_token(loaded, ids, monkeypatch):
    bits = inspect_ids(loaded, ids, [])["bits"]
    monkeypatch.setattr(loaded.encoder, "start_ids", [])
    without = inspect_ids(loaded, ids, [])["bits"]
    assert without[0] is None
    assert len(without) == len(bits)


def test_every_id_has_its_label(loaded, encoder, ids):
    panels = inspect_ids(loaded, ids, [])
    used = {*ids, *panels["best"], *np.ravel(panels["lens"]["ids"]).tolist()}
    assert panels["labels"] == {token_id: token_labels(encoder, [token_id])[0] for token_id in used}


def test_shapes_are_those_of_the_arrays(loaded, ids, reference):
    n_seq = len(ids)
    panels = inspect_ids(loaded, ids, [])["shapes"].values()
    shapes = {name: shape for panel in panels for name, shape in panel}
    outputs = run_reference(reference, ids, output_attentions=True, output_hidden_states=True)
    assert shapes["x"] == shapes["wte[ids] + wpe[:n_seq]"] == outputs.hidden_states[0].shape[1:]
    assert shapes["weights"] == outputs.attentions[0].shape[1:]
    assert shapes["q, k and v, each"] == (4, n_seq, 64)
    assert shapes["logits"] == (4096,)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("sampling", [SAMPLING, {"temperature": 0}, {"temperature": 1.5}])
def test_steps_draw_the_tokens_of_one_run(loaded, ids, generated_ids, encoder, seed, sampling):
    prompt = encoder.decode(ids)
    expected = generated_ids(prompt, 30, seed=text_seed(seed, ids), **sampling)
    drawn = []
    for n_tokens in (1, 1, 10, 1, 5):
        tokens = list(draw_tokens(loaded, ids, drawn, n_tokens, seed, **sampling))
        drawn += [token["id"] for token in tokens if "id" in token]
    assert drawn == expected[:18]


def test_the_end_of_the_text_is_reported(loaded, encoder, generated_ids):
    ids = encoder.encode("Once upon a time")
    n_tokens = 200
    expected = generated_ids("Once upon a time", n_tokens, seed=text_seed(1, ids), temperature=1)
    assert len(expected) < n_tokens
    *tokens, last = draw_tokens(loaded, ids, [], n_tokens, 1, temperature=1)
    assert [token["id"] for token in tokens] == expected
    assert last == {"end": True}
    assert list(draw_tokens(loaded, ids, expected, 1, 1, temperature=1)) == [{"end": True}]


@pytest.mark.filterwarnings("ignore:the context of 256 tokens is full", "ignore:the prompt exceeds")
@pytest.mark.parametrize("n_prompt", [250, 256, 300])
def test_steps_beyond_the_context_draw_the_tokens_of_one_run(loaded, long_ids, n_prompt):
    ids = (3 * long_ids)[:n_prompt]
    options = {"seed": text_seed(3, ids), "sampler": sample, "temperature": 1.0}
    expected = list(gpt2.generate(ids, loaded.params, 4, 12, **options))
    drawn = []
    for _ in expected:
        (token,) = draw_tokens(loaded, ids, drawn, 1, 3, temperature=1.0)
        drawn.append(token["id"])
    assert drawn == expected
    panels = inspect_ids(loaded, ids, drawn)
    assert panels["ids"] == [*ids, *drawn][-len(panels["ids"]) :]
    assert len(panels["bits"]) == len(panels["ids"]) <= 256


def test_pieces_of_text_join_to_whole_characters(loaded, encoder):
    """The bytes of a character arrive in three requests."""
    ids = encoder.encode("猫")
    assert len(ids) == 3
    texts = []
    for n_drawn, next_id in enumerate(ids):
        lm_head = np.zeros_like(loaded.params["wte"])
        lm_head[next_id] = 1e3 * sign_of_last_state(loaded, [258, *ids[:n_drawn]])
        forced = loaded._replace(params={**loaded.params, "lm_head": lm_head})
        (token,) = draw_tokens(forced, [258], ids[:n_drawn], 1, 0, temperature=0)
        assert token["id"] == next_id
        texts.append(token["text"])
    assert texts == ["", "", "猫"]


def sign_of_last_state(loaded, ids):
    """A direction that the last hidden state of a text points to."""
    with_identity = {**loaded.params, "lm_head": np.eye(256, dtype=np.float32)}
    return np.sign(gpt2.gpt2(ids, **with_identity, n_head=4)[-1])


def test_code_is_that_of_the_files():
    code = source_code()
    assert code.keys() == PANELS.keys()
    for panel, functions in PANELS.items():
        for function, entry in zip(functions, code[panel], strict=True):
            path = Path(inspect.getsourcefile(function))
            assert path.name == entry["file"]
            lines = path.read_text(encoding="utf-8").splitlines()[entry["line"] - 1 :]
            shown = entry["code"].splitlines()
            assert [line.strip() for line in lines[: len(shown)]] == [line.strip() for line in shown]
            assert shown[0].startswith(f"def {function.__name__}(")
