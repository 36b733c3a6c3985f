"""helpers/training_report.py: mistakes equal those of greedy decoding, one by one."""

import numpy as np
from helpers.hub_folder import byte_encoder
from helpers.training_report import find_mistakes, print_results
from helpers.training_tasks import Task, tokenize
from support.random_params import random_params

import gpt2

N_HEAD = 2


def test_mistakes_equal_those_of_greedy_decoding():
    params = random_params(n_vocab=11, n_ctx=5, n_embd=8, n_layer=1, std=0.3)
    ids = np.random.default_rng(2).integers(11, size=(40, 6))  # random answers: nearly all are wrong
    is_answer = np.zeros((40, 5), bool)
    is_answer[:, 2:] = True  # the last three ids
    answers = [list(gpt2.generate(row[:3], params, N_HEAD, 3)) for row in ids]
    ids[::4, 3:] = answers[::4]
    ids[1::4, 3:5] = [answer[:2] for answer in answers[1::4]]
    expected = [
        n for n, (row, answer) in enumerate(zip(ids, answers, strict=True)) if list(row[3:]) != answer
    ]
    assert 20 <= len(expected) <= 30
    assert find_mistakes(params, N_HEAD, ids, is_answer).tolist() == expected


def test_report_lists_ten_mistakes_and_counts_the_others(capsys):
    """A model that always answers 7: its last norm outputs a constant, the embedding of 7."""
    encoder = byte_encoder()
    lines = [f"{n}+0={n}" for n in range(10)] + [f"{n}+1={n + 1}" for n in range(4)]
    held_out = tokenize(lines, encoder)
    params = random_params(n_vocab=257, n_ctx=held_out[1].shape[1], n_embd=8, n_layer=1, std=0.3)
    params["ln_f"] = {"g": np.zeros(8, np.float32), "b": np.eye(8, dtype=np.float32)[0]}
    params["wte"][:, 0] = 0
    params["wte"][ord("7") - 33, 0] = 1  # in the order of bytes_to_unicode, "!" is the first
    assert encoder.encode("7") == [ord("7") - 33]

    print_results(Task("", lines, encoder, held_out, held_out, prompt="0+0=", n_steps=1), params, N_HEAD)
    shown = [f"{line}, but the model answers '77'" for line in lines[:10]]
    assert capsys.readouterr().out.splitlines() == ["correct answers: 0 of 14", *shown, "and 4 more"]
