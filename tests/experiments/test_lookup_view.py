"""lookup_view.py: the text is that of greedy decoding, and the colors agree with a replay of the drafts."""

import re

import lookup_view
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from support.experiment_helpers import PNG, run_reference, texts_of
from support.random_params import random_params

from generation.prompt_lookup import MAX_DRAFT, N_MATCH, lookup_passes
from gpt2 import generate, gpt2

PROMPT = "For years Aisha has collected snow globes. They are in a glass cabinet."
N_TOKENS = 100


@pytest.fixture(scope="module")
def prompt_ids(encoder):
    return encoder.encode(PROMPT)


@pytest.fixture(scope="module")
def passes(prompt_ids, model, encoder):
    """The passes over PROMPT."""
    return list(lookup_passes(prompt_ids, **model, n_tokens_to_generate=N_TOKENS, stop_id=encoder.stop_ids))


def tokens_of(passes, *kinds):
    """The ids with these outcomes."""
    return [token_id for one in passes for token_id, kind in lookup_view.outcomes(*one) if kind in kinds]


def copied_draft(ids, length):
    """Search for the last N_MATCH ids from the end, one place after another, and copy what follows."""
    for end in range(len(ids) - 1, N_MATCH - 1, -1):
        if ids[end - N_MATCH : end] == ids[-N_MATCH:]:
            copied = list(ids)
            while len(copied) < len(ids) + length:
                copied.append(copied[end + len(copied) - len(ids)])
            return copied[len(ids) :]
    return []


def assert_passes_equal_a_replay(ids, passes, most_probable_ids):
    """Each draft is a copy, and "accepted" means: the most probable token after the text so far.

    most_probable_ids(ids) -> the most probable next id after each id.
    """
    ids = list(ids)
    for draft, new_ids in passes:
        assert len(draft) <= MAX_DRAFT
        assert draft == copied_draft(ids, len(draft))
        best = most_probable_ids(ids + draft)[len(ids) - 1 :]  # [1 + n_draft]
        n_equal = int(np.argmin([*np.equal(draft, best[:-1]), False]))
        drafted = [pair for pair in lookup_view.outcomes(draft, new_ids) if pair[1] != "own"]
        n_accepted = sum(kind == "accepted" for _, kind in drafted)
        assert drafted == [(n, "accepted") for n in draft[:n_accepted]] + [
            (n, "rejected") for n in draft[n_accepted:]
        ]
        is_complete = len(new_ids) > n_accepted  # the next token is not, if two logits are close
        assert n_accepted == n_equal if is_complete else n_accepted <= n_equal
        assert new_ids == best[: len(new_ids)]
        ids += new_ids


def test_accepted_and_own_tokens_are_greedy_generate(passes, prompt_ids, model, encoder):
    expected = list(generate(prompt_ids, **model, n_tokens_to_generate=N_TOKENS, stop_id=encoder.stop_ids))
    assert tokens_of(passes, "accepted", "own") == expected


def test_drafts_equal_a_replay_with_transformers(passes, prompt_ids, reference):
    def most_probable_ids(ids):
        return torch.argmax(run_reference(reference, ids).logits[0], dim=-1).tolist()

    assert len(tokens_of(passes, "accepted")) > 5 < len(tokens_of(passes, "rejected"))
    assert_passes_equal_a_replay(prompt_ids, passes, most_probable_ids)


@given(st.integers(0, 20), st.lists(st.integers(0, 4), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_drafts_equal_a_replay_for_any_model(seed, prompt):
    """With few tokens, texts repeat themselves, and drafts overlap the text that they copy."""
    params = random_params(n_vocab=5, n_ctx=80, n_embd=12, n_layer=2, std=0.3, seed=seed)

    def most_probable_ids(ids):
        return np.argmax(gpt2(ids, **params, n_head=3), axis=-1).tolist()

    passes = list(lookup_passes(prompt, params, 3, 60))
    assert tokens_of(passes, "accepted", "own") == list(generate(prompt, params, 3, 60))
    assert_passes_equal_a_replay(prompt, passes, most_probable_ids)


@pytest.mark.parametrize(
    ("draft", "new_ids", "kinds"),
    [
        ([], [7], ["own"]),
        ([1, 2, 3], [1, 2, 3, 4], ["accepted", "accepted", "accepted", "own"]),
        ([1, 2, 3], [1, 5], ["accepted", "rejected", "rejected", "own"]),
        ([1, 2, 3], [1], ["accepted", "rejected", "rejected"]),  # two logits were close
        ([1, 2], [], ["rejected", "rejected"]),
    ],
)
def test_outcomes_of_a_pass(draft, new_ids, kinds):
    assert [kind for _, kind in lookup_view.outcomes(draft, new_ids)] == kinds


def test_terminal_shows_the_text_in_colors(run_experiment, passes, prompt_ids, encoder):
    arguments = ("--model_size=demo", f"--n_tokens={N_TOKENS}", PROMPT)
    status, stdout, stderr = run_experiment("lookup_view.py", *arguments)
    assert (status, stderr) == (0, "")
    *_, summary = stdout.splitlines()
    shown = re.findall(r"\x1b\[30;48;5;(\d+)m(.*?)\x1b\[0m", stdout, re.DOTALL)
    texts = dict.fromkeys(lookup_view.COLORS, "")
    kind_of = {str(terminal): kind for kind, (terminal, _) in lookup_view.COLORS.items()}
    for color, text in shown:
        texts[kind_of[color]] += text
    assert texts["prompt"] == PROMPT
    for kind in ("accepted", "rejected", "own"):
        assert texts[kind] == encoder.decode(tokens_of(passes, kind))
    n_accepted, n_rejected = (len(tokens_of(passes, kind)) for kind in ("accepted", "rejected"))
    n_new = len(tokens_of(passes, "accepted", "own"))
    drafted = f"{n_accepted + n_rejected} draft tokens, {n_accepted} accepted"
    assert summary == f"{n_new} tokens in {len(passes)} passes; {drafted}"


def test_a_rejected_line_break_does_not_break_the_line():
    assert lookup_view.to_terminal("a\n", "accepted").endswith("\n")
    assert not lookup_view.to_terminal("a\n", "rejected").endswith("\n")


def test_picture_shows_each_token_on_its_color():
    labels, kinds = ["·a$b$", "c" * 80, "d", "e" * 9], ["prompt", "own", "accepted", "rejected"]
    (axes,) = lookup_view.draw(labels, kinds).axes
    assert texts_of(axes.texts) == labels
    colors = [to_rgba(lookup_view.COLORS[kind][1]) for kind in kinds]
    assert [bar.get_facecolor() for bar in axes.patches] == colors
    assert [round(bar.get_x()) for bar in axes.patches] == [0, 5, 85, 0]
    assert [text.get_position()[1] for text in axes.texts] == [0, 0, 0, 1]


def test_picture_is_a_png(run_experiment, tmp_path):
    result = run_experiment("lookup_view.py", "--model_size=demo", "--out=view.png", "A red hat. A red hat.")
    assert result[0] == 0, result
    assert (tmp_path / "view.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "the prompt is missing or empty"),
        (["--n_tokens=0", "A"], "--n_tokens takes a whole number of at least 1"),
        (["--out=view.jpg", "A"], "must end in .png"),
    ],
)
def test_bad_arguments_are_one_clear_line(run_experiment, arguments, message):
    status, _, stderr = run_experiment("lookup_view.py", "--model_size=demo", *arguments)
    assert status == 2
    assert message in stderr
    assert stderr.count("\n") == 1
