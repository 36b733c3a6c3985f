"""tokens.py: its merges give the same tokens as the encoder."""

import itertools
import os
import re
import subprocess
import sys

import tokens
from hypothesis import given
from hypothesis import strategies as st
from support.paths import EXPERIMENTS, posix


@given(st.text(max_size=30))
def test_last_merge_step_equals_the_encoder(encoder, text):
    for word in tokens.PATTERN.findall(text):
        steps = list(tokens.merge_steps(word, encoder))
        last, pair = steps[-1]
        assert pair == ()
        assert [encoder.encoder[token] for token in last] == encoder.encode(word)
        for (before, pair), (after, _) in itertools.pairwise(steps):
            assert "".join(before) == "".join(after)
            assert after.count("".join(pair)) > before.count("".join(pair))


def test_tokens_and_ids_are_printed(run_experiment, encoder):
    status, stdout, stderr = run_experiment("tokens.py", "--model_size=demo", "Once upon a time")
    assert (status, stderr) == (0, "")
    shown, ids, counts = stdout.splitlines()
    assert shown == "Once ·upon ·a ·time"
    assert list(map(int, ids.split())) == encoder.encode("Once upon a time")
    assert counts == "4 tokens, 16 characters, 16 bytes"


def test_merges_are_printed(run_experiment):
    """The first four pairs of the demo model are "Ġ t", "h e", "Ġ a", "Ġt he"."""
    status, stdout, stderr = run_experiment("tokens.py", "--model_size=demo", "--merges", " the")
    assert (status, stderr) == (0, "")
    assert stdout.splitlines() == [
        "· t h e   · + t: pair 1",
        "·t h e   h + e: pair 2",
        "·t he   ·t + he: pair 4",
        "·the",
    ]


@posix
def test_terminal_shows_neighbors_in_different_colors():
    import pty

    master, slave = pty.openpty()
    command = [sys.executable, EXPERIMENTS / "tokens.py", "--model_size=demo", "Once upon"]
    subprocess.run(command, stdout=slave, timeout=60, check=True)
    shown = os.read(master, 1000).decode().splitlines()[0]
    os.close(slave)
    os.close(master)
    pieces = re.findall(r"\x1b\[30;48;5;(\d+)m(.*?)\x1b\[0m", shown)
    assert [text for _, text in pieces] == ["Once", "·upon"]
    assert all(before != after for (before, _), (after, _) in itertools.pairwise(pieces))
