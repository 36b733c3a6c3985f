"""induction.py: its scores equal sums over transformers' attentions. A handmade induction head scores 1."""

import induction
import numpy as np
import pytest
from support.experiment_helpers import PNG, PROMPT, run_reference, texts_of
from support.induction_circuit import N_VOCAB, induction_circuit

from gpt2 import gpt2


def expected_score(ids, weights):
    """The definition, as loops. weights [n_seq, n_seq], of one head."""
    totals = []
    for query in range(len(ids)):
        keys = [key for key in range(1, query + 1) if ids[key - 1] == ids[query]]
        if keys:
            totals.append(sum(weights[query, key] for key in keys))
    return sum(totals) / len(totals)


def test_scores_equal_loops_over_transformers_attentions(model, reference):
    ids = np.tile(np.random.default_rng(0).choice(4000, 7), 3)
    attentions = run_reference(reference, ids.tolist(), output_attentions=True).attentions
    expected = [[expected_score(ids, head) for head in layer[0].numpy()] for layer in attentions]
    np.testing.assert_allclose(induction.prefix_matching_scores(ids, **model), expected, atol=1e-5)


def test_targets_follow_earlier_occurrences():
    targets = induction.induction_targets([7, 8, 7, 9, 7, 7])
    assert np.argwhere(targets).tolist() == [[2, 1], [4, 1], [4, 3], [5, 1], [5, 3], [5, 5]]


def test_handmade_induction_head_has_the_highest_score():
    """At the first position, the previous-token head finds only that token itself: one query is undecided."""
    params = induction_circuit()
    ids = induction.repeated_random_tokens(20, params, np.random.default_rng(0))
    (previous_token,), (induction_head,) = induction.prefix_matching_scores(ids, params, n_head=1)
    assert induction_head == pytest.approx(19.5 / 20, abs=0.01)
    assert previous_token < 0.01
    predicted = gpt2(ids[:-1], **params, n_head=1).argmax(axis=-1)
    np.testing.assert_array_equal(predicted[21:], ids[22:])


def test_random_tokens_differ_and_repeat():
    ids = induction.repeated_random_tokens(20, induction_circuit(), np.random.default_rng(0))
    np.testing.assert_array_equal(ids[:20], ids[20:])
    assert len(set(ids.tolist())) == 20
    assert 0 <= ids.min() <= ids.max() < N_VOCAB


def test_picture_shows_scores_and_the_attention_of_the_best_head(monkeypatch, model, encoder, ids, reference):
    drawn = []
    monkeypatch.setattr(induction, "write_picture", lambda path, figure: drawn.append(figure))
    induction.main(PROMPT, n_tokens=30, seed=1, model_size="demo")
    left, right, _ = drawn[0].axes
    rng = np.random.default_rng(1)
    texts = [np.tile(rng.choice(4096, 30, replace=False), 2) for _ in range(10)]
    scores = np.mean([induction.prefix_matching_scores(text, **model) for text in texts], axis=0)
    np.testing.assert_array_equal(left.images[0].get_array(), scores)
    cells = {text.get_position(): text.get_text() for text in left.texts}
    assert cells == {(head, layer): f"{score:.2f}" for (layer, head), score in np.ndenumerate(scores)}
    layer, head = map(int, np.argwhere(scores == scores.max())[0])
    assert right.get_title() == f"layer {layer}, head {head}"
    weights = run_reference(reference, ids, output_attentions=True).attentions[layer][0, head]
    np.testing.assert_allclose(right.images[0].get_array().filled(0), weights, atol=1e-5)
    assert texts_of(right.get_yticklabels()) == induction.picture_labels(encoder, ids)


def test_frames_mark_the_targets():
    targets = np.array([[0, 0, 0], [0, 0, 0], [0, 1, 0]], bool)
    _, axes, _ = induction.draw(np.zeros((2, 2)), (0, 0), np.eye(3), targets, ["a", "b", "a"]).axes
    (frame,) = axes.patches
    assert frame.get_xy() == (0.5, 1.5)


def test_induction_writes_a_picture(run_experiment, tmp_path):
    result = run_experiment("induction.py", "--model_size=demo", PROMPT)
    assert result == (0, "induction.png\n", "")
    assert (tmp_path / "induction.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("n_tokens", [1, 129])
def test_number_of_tokens_out_of_range_is_rejected(run_experiment, n_tokens):
    result = run_experiment("induction.py", "--model_size=demo", f"--n_tokens={n_tokens}", PROMPT)
    assert result == (2, "", f"induction.py: n_tokens must be from 2 to 128, not {n_tokens}\n")


def test_text_longer_than_the_context_is_rejected(run_experiment):
    status, stdout, stderr = run_experiment("induction.py", "--model_size=demo", " king" * 300)
    assert (status, stdout) == (2, "")
    assert stderr == "induction.py: the text has 300 tokens, but the context of this model is 256\n"
