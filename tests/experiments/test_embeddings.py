"""embeddings.py: its vectors equal transformers' hidden states, and plain loops find the same neighbors."""

import math

import embeddings
import numpy as np
import pytest
import torch
from support.experiment_helpers import PNG, PROMPT, texts_of
from support.paths import EXPERIMENTS

WORDS = EXPERIMENTS / "data" / "words.txt"
SENTENCES = EXPERIMENTS / "data" / "sentences.txt"


@pytest.fixture
def hooked_vector(reference):
    """hooked_vector(ids, layer): the mean input of a layer, without the first token, from a forward hook."""

    def hooked_vector(ids, layer):
        seen = []
        modules = [*reference.transformer.h, reference.transformer.ln_f]  # ln_f reads the last block's output
        hook = modules[layer].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        with torch.no_grad():
            reference(torch.tensor([ids]))
        hook.remove()
        return seen[0][0, 1:].mean(dim=0).numpy()

    return hooked_vector


@pytest.fixture
def vectors():
    """Random centred vectors of 12 texts, and one that equals another."""
    vectors = np.random.default_rng(0).standard_normal((12, 6)) * [9, 5, 1, 1, 1, 1]
    vectors[7] = vectors[2]
    return vectors - vectors.mean(axis=0)


@pytest.mark.parametrize("text", [PROMPT, " red"])
def test_text_vectors_equal_the_hooked_inputs_of_each_layer(model, encoder, hooked_vector, text):
    ids = encoder.encode(text)
    for layer in range(7):
        ours = embeddings.text_vector(ids, encoder.start_ids, **model, layer=layer)
        np.testing.assert_allclose(ours, hooked_vector([*encoder.start_ids, *ids], layer), atol=1e-4)


def test_text_vector_needs_no_start_token(model, ids):
    ours = embeddings.text_vector(ids, [], **model, layer=0)
    states = model["params"]["wte"][ids] + model["params"]["wpe"][: len(ids)]
    np.testing.assert_allclose(ours, states.mean(axis=0), atol=1e-6)


def test_similarities_and_neighbors_equal_those_of_plain_loops(vectors):
    def cosine(x, y):
        return sum(x * y) / math.sqrt(sum(x * x) * sum(y * y))

    similarities = embeddings.cosine_similarities(vectors)
    expected = [[cosine(x, y) for y in vectors] for x in vectors]
    np.testing.assert_allclose(similarities, expected, atol=1e-12)
    neighbors = embeddings.nearest_neighbors(similarities, 3)
    for number, row in enumerate(expected):
        others = sorted((n for n in range(12) if n != number), key=lambda n: -row[n])
        np.testing.assert_allclose([row[n] for n in neighbors[number]], [row[n] for n in others[:3]])
        assert number not in neighbors[number]
    assert (neighbors[2, 0], neighbors[7, 0]) == (7, 2)


def test_principal_components_are_those_of_the_covariance_matrix(vectors):
    variances, directions = np.linalg.eigh(np.cov(vectors.T))  # by increasing variance
    points = embeddings.principal_components(vectors)
    expected = vectors @ directions[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)  # the signs are arbitrary
    np.testing.assert_allclose(points.var(axis=0, ddof=1), variances[[-1, -2]])


def test_each_point_has_its_label():
    points = np.array([[0.0, 1.0], [2.0, 3.0]])
    (axes,) = embeddings.draw(points, ["$a$", "b"]).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), points)
    assert texts_of(axes.texts) == ["$a$", "b"]
    np.testing.assert_array_equal([text.xy for text in axes.texts], points)
    assert not axes.texts[0].get_parse_math()


def test_label_is_short():
    assert embeddings.label_of(" red") == "red"
    assert embeddings.label_of("a b " * 30) == "a b " * 7 + "a…"


def test_neighbors_of_words_are_of_their_kind(run_experiment, tmp_path):
    status, stdout, stderr = run_experiment("embeddings.py", "--model_size=demo", "--n_neighbors=1", WORDS)
    assert (status, stderr) == (0, "")
    lines = stdout.splitlines()
    neighbor = {word: line.split()[1] for word, line in zip(lines[::2], lines[1::2], strict=True)}
    pairs = {"king": "queen", "queen": "king", "boy": "girl", "mother": "father"}
    assert {word: neighbor[word] for word in pairs} == pairs
    for group in ({"red", "green", "blue", "yellow"}, {"Anna", "Mia", "Tom", "Felix", "Olga"}):
        assert {neighbor[word] for word in group} <= group
    assert list(tmp_path.iterdir()) == []


def test_script_prints_the_neighbors_and_draws_them(run_experiment, tmp_path, encoder, hooked_vector):
    flags = ["--model_size=demo", "--layer=2", "--n_neighbors=3", "--out=map.png"]
    status, stdout, stderr = run_experiment("embeddings.py", *flags, SENTENCES)
    assert (status, stderr) == (0, "")
    texts = SENTENCES.read_text(encoding="utf-8").splitlines()
    vectors = np.stack([hooked_vector([*encoder.start_ids, *encoder.encode(text)], 2) for text in texts])
    vectors -= vectors.mean(axis=0)
    *lines, path = stdout.splitlines()
    assert (path, lines[::4]) == ("map.png", texts)
    for number, x in enumerate(vectors):
        cosines = {text: x @ y / (x @ x * (y @ y)) ** 0.5 for text, y in zip(texts, vectors, strict=True)}
        del cosines[texts[number]]
        printed = [line.split(maxsplit=1) for line in lines[4 * number + 1 : 4 * number + 4]]
        assert [text for _, text in printed] == sorted(cosines, key=cosines.get, reverse=True)[:3]
        for cosine, text in printed:
            assert float(cosine) == pytest.approx(cosines[text], abs=2e-4)
    assert (tmp_path / "map.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("a\nb\n", [], "texts needs more than 2 texts, all different"),
        ("a\nb\nc\nb\n", [], "texts needs more than 2 texts, all different"),
        ("a\nb\nc\n", ["--layer=7"], "layer must be from 0 to 6, not 7"),
        ("", [], "texts has no prompts: write one on each line"),
    ],
)
def test_bad_arguments_are_one_line_errors(run_experiment, tmp_path, content, flags, message):
    (tmp_path / "texts").write_text(content)
    result = run_experiment("embeddings.py", "--model_size=demo", *flags, "texts")
    assert result == (2, "", f"embeddings.py: {message}\n")
