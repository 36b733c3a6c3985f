"""steer.py: its logits and texts equal those of transformers with a hook that adds the same vector."""

import numpy as np
import pytest
import steer
import torch
from support.experiment_helpers import PROMPT, run_reference

from gpt2 import generate

PLUS, MINUS = " girl", " boy"


@pytest.fixture
def pair(encoder):
    """The ids of two prompts."""
    return encoder.encode("Anna had a red hat"), encoder.encode("Tom had a green hat")


def reference_vector(reference, pair, layer):
    """The difference of the two prompts' hidden states in transformers."""
    plus, minus = (run_reference(reference, ids, output_hidden_states=True).hidden_states for ids in pair)
    return (plus[layer] - minus[layer])[0]


@pytest.fixture
def hooked(reference, pair):
    """hooked(layer, coefficient): the reference model, which adds the vector before the layer."""

    def hooked(layer, coefficient):
        vector = coefficient * reference_vector(reference, pair, layer)

        def add_vector(module, inputs):
            (x, *others) = inputs
            n = min(len(vector), x.shape[1])
            steered = torch.cat([x[:, :n] + vector[:n], x[:, n:]], dim=1)
            return (steered, *others)

        reference.transformer.h[layer].register_forward_pre_hook(add_vector)
        return reference

    return hooked


@pytest.mark.parametrize("layer", range(6))
def test_steering_vector_is_the_difference_of_transformers_hidden_states(model, reference, pair, layer):
    expected = reference_vector(reference, pair, layer)
    np.testing.assert_allclose(steer.steering_vector(*pair, **model, layer=layer), expected, atol=1e-4)


@pytest.mark.parametrize("prompt", [PROMPT, "The"])
@pytest.mark.parametrize("coefficient", [-3.0, 5.0])
@pytest.mark.parametrize("layer", [0, 2, 5])
def test_steered_logits_equal_a_hooked_model(model, encoder, pair, hooked, layer, coefficient, prompt):
    ids = encoder.encode(prompt)
    vector = coefficient * steer.steering_vector(*pair, **model, layer=layer)
    ours = steer.steered_logits(ids, vector, **model, layer=layer)
    expected = run_reference(hooked(layer, coefficient), ids).logits[0, -1]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    unsteered = steer.steered_logits(ids, 0 * vector, **model, layer=layer)
    assert np.abs(ours - unsteered).max() > 0.1


def test_steered_text_equals_that_of_a_hooked_model(model, encoder, pair, hooked):
    ids = encoder.encode("Once upon a time a king had one child, a")
    steered_model = hooked(2, 4.0)
    expected = []
    for _ in range(20):
        expected.append(int(run_reference(steered_model, ids + expected).logits[0, -1].argmax()))
    vector = 4.0 * steer.steering_vector(*pair, **model, layer=2)
    assert steer.steered_ids(ids, vector, 20, [], **model, layer=2) == expected
    assert list(generate(ids, **model, n_tokens_to_generate=20)) != expected


def test_coefficient_zero_gives_the_text_of_generate(model, encoder, ids, pair):
    vector = 0 * steer.steering_vector(*pair, **model, layer=3)
    expected = list(generate(ids, **model, n_tokens_to_generate=150, stop_id=encoder.stop_ids))
    assert len(expected) < 150  # the text ends with <|endoftext|>
    assert steer.steered_ids(ids, vector, 150, encoder.stop_ids, **model, layer=3) == expected


def test_columns_keep_all_words_in_order():
    texts = {"one": "a " * 40, "two": "", "three": "b"}
    lines = list(steer.side_by_side(texts))
    assert lines[0].split() == ["one", "two", "three"]
    assert " ".join(lines[1:]).split().count("a") == 40
    assert [line.find("b") for line in lines[1:]] == [2 * (steer.WIDTH + 2), -1, -1]


def test_steer_prints_three_texts(run_experiment, encoder, model):
    prompt = "Once upon a time a king had one child, a"
    flags = ["--model_size=demo", f"--plus={PLUS}", f"--minus={MINUS}", "--n_tokens=3", "--layer=1"]
    status, stdout, stderr = run_experiment("steer.py", *flags, "--coefficient=4.5", prompt)
    assert (status, stderr) == (0, "")
    head, *lines = stdout.splitlines()
    assert head.split() == ["coefficient", "-4.5", "coefficient", "0", "coefficient", "4.5"]
    vector = steer.steering_vector(encoder.encode(PLUS), encoder.encode(MINUS), **model, layer=1)
    for column, factor in enumerate([-4.5, 0, 4.5]):
        new_ids = steer.steered_ids(encoder.encode(prompt), factor * vector, 3, [], **model, layer=1)
        start = column * (steer.WIDTH + 2)
        printed = " ".join(line[start : start + steer.WIDTH] for line in lines)
        assert printed.split() == encoder.decode(new_ids).split()


MISSING = "give --plus and --minus, and a coefficient of more than 0"
PAIR = ["--plus=a", "--minus=b"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], MISSING),
        (["--plus=a"], MISSING),
        (
            [*PAIR, "--coefficient=0"],
            "give --plus and --minus, and a coefficient of more than 0",
        ),
        ([*PAIR, "--layer=6"], "layer must be from 0 to 5, not 6"),
        (
            [*PAIR, "--n_tokens=255"],
            "the prompt and 255 new tokens exceed the context of 256",
        ),
        (
            ["--plus= king queen", "--minus= boy"],
            "plus and minus have 2 and 1 tokens: add spaces at the end of the shorter one",
        ),
    ],
)
def test_bad_arguments_are_one_line_errors(run_experiment, flags, message):
    result = run_experiment("steer.py", "--model_size=demo", *flags, "The cat sat")
    assert result == (2, "", f"steer.py: {message}\n")
