"""microgpt.py: it prints the original's names, and its logits equal those of plain loops."""

import json
import random

import microgpt
import numpy as np
import pytest
from support.loop_microgpt import loop_logits, loop_names, softmax

from loading.untrusted_files import CheckpointError

CHARS, N_EMBD, N_CTX = "abcde", 8, 6

# What the original prints after its training: https://karpathy.github.io/2026/02/12/microgpt/
PUBLISHED = """\
sample  1: kamon
sample  2: ann
sample  3: karai
sample  4: jaire
sample  5: vialan
sample  6: karia
sample  7: yeran
sample  8: anna
sample  9: areli
sample 10: kaina
sample 11: konna
sample 12: keylen
sample 13: liole
sample 14: alerin
sample 15: earan
sample 16: lenne
sample 17: kana
sample 18: lara
sample 19: alela
sample 20: anton
"""


def random_weights(n_layer, seed=0):
    """Random weights with microGPT's names and shapes: {name: rows of numbers}."""
    rng = np.random.default_rng(seed)
    shapes = {"wte": (len(CHARS) + 1, N_EMBD), "wpe": (N_CTX, N_EMBD), "lm_head": (len(CHARS) + 1, N_EMBD)}
    for n in range(n_layer):
        shapes |= dict.fromkeys([f"layer{n}.attn_w{kind}" for kind in "qkvo"], (N_EMBD, N_EMBD))
        shapes |= {f"layer{n}.mlp_fc1": (4 * N_EMBD, N_EMBD), f"layer{n}.mlp_fc2": (N_EMBD, 4 * N_EMBD)}
    return {name: rng.normal(0, 0.4, shape).tolist() for name, shape in shapes.items()}


def write(path, state_dict, chars=CHARS, n_head=2):
    content = {"chars": chars, "n_head": n_head, "state_dict": state_dict}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("n_layer", "n_head"), [(0, 1), (1, 1), (1, 2), (3, 4)])
def test_logits_equal_plain_loops(tmp_path, n_layer, n_head):
    weights = random_weights(n_layer)
    chars, params, n_head = microgpt.load(write(tmp_path / "a.json", weights, n_head=n_head))
    assert chars == CHARS
    ids = [5, 0, 3, 3, 1, 4]
    keys, values = ([[] for _ in range(n_layer)] for _ in "kv")
    expected = [loop_logits(ids[n], n, weights, n_head, keys, values) for n in range(len(ids))]
    logits = microgpt.microgpt(ids, **params, n_head=n_head)
    assert logits.dtype == np.float64
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-10)

    cache = microgpt.new_cache(params, n_head)
    for start, end in ((0, 3), (3, 4), (4, 6)):
        logits = microgpt.microgpt(ids[start:end], **params, n_head=n_head, cache=cache, n_past=start)
        np.testing.assert_allclose(logits, expected[start:end], rtol=0, atol=1e-10)


# Sampling.


def test_first_characters_follow_the_softmax_distribution(tmp_path):
    weights = random_weights(1)
    _, params, n_head = microgpt.load(write(tmp_path / "a.json", weights))
    expected = [logit / 2.5 for logit in loop_logits(5, 0, weights, n_head, [[]], [[]])]
    expected = np.array(softmax(expected))
    rng, n_draws = random.Random(0), 2000
    names = [microgpt.sample_name(params, n_head, 2.5, rng) for _ in range(n_draws)]
    counts = np.bincount([(*name, 5)[0] for name in names], minlength=6)
    chi_squared = np.sum((counts - n_draws * expected) ** 2 / (n_draws * expected))
    assert chi_squared < 20.5  # p = 0.001 at 5 degrees of freedom


@pytest.mark.parametrize("seed", [0, 2, 4, 5])
def test_greedy_names_end_at_bos_or_a_full_context(tmp_path, seed):
    weights = random_weights(1, seed)
    _, params, n_head = microgpt.load(write(tmp_path / "a.json", weights))
    expected, keys, values = [5], [[]], [[]]
    while len(expected) <= N_CTX and (len(expected) == 1 or expected[-1] != 5):
        logits = loop_logits(expected[-1], len(expected) - 1, weights, n_head, keys, values)
        expected.append(logits.index(max(logits)))
    name = microgpt.sample_name(params, n_head, 0, None)
    assert name == [token_id for token_id in expected if token_id != 5]


def test_names_are_at_most_as_long_as_the_context(tmp_path):
    weights = random_weights(1)
    weights["lm_head"] = [
        [value / 10 for value in row] for row in weights["lm_head"]
    ]  # makes BOS improbable, too
    _, params, n_head = microgpt.load(write(tmp_path / "a.json", weights))
    rng = random.Random(0)
    lengths = {len(microgpt.sample_name(params, n_head, 1, rng)) for _ in range(200)}
    assert max(lengths) == N_CTX
    assert min(lengths) < N_CTX


# The command line.


def test_without_arguments_it_prints_the_published_names(run_experiment):
    assert run_experiment("microgpt.py") == (0, PUBLISHED, "")


@pytest.mark.parametrize(("seed", "temperature"), [(42, 0.5), (7, 0.5), (0, 1.3)])
def test_names_equal_those_of_plain_loops(run_experiment, seed, temperature):
    content = json.loads(microgpt.NAMES.read_text(encoding="utf-8"))
    weights, chars = content["state_dict"], content["chars"]
    names = loop_names(weights, chars, content["n_head"], 1, 30, temperature, seed)
    expected = "".join(f"sample {n:2}: {name}\n" for n, name in enumerate(names, start=1))
    arguments = [f"--seed={seed}", f"--temperature={temperature}", "--n_names=30"]
    assert run_experiment("microgpt.py", *arguments) == (0, expected, "")
    assert (PUBLISHED in expected) == (seed == 42)


def test_other_weights_generate_names(run_experiment):
    arguments = ["microgpt.py", microgpt.NAMES.parent / "names.json", "--n_names=200"]
    status, out, err = run_experiment(*arguments, "--seed=1")
    assert (status, err) == (0, "")
    names = [line.split(": ")[1] for line in out.splitlines()]
    known = (microgpt.NAMES.parent / "names.txt").read_text(encoding="utf-8").split()
    assert len(names) == 200
    assert max(map(len, names)) <= 16
    assert 20 < len(set(names) & set(known)) < len(set(names)) / 2 + 20  # some are real, many are new
    assert run_experiment(*arguments, "--seed=1") == (0, out, "")
    assert run_experiment(*arguments, "--seed=2")[1] != out


def test_chars_may_be_a_list(tmp_path):
    chars, _, _ = microgpt.load(write(tmp_path / "a.json", random_weights(1), chars=list(CHARS)))
    assert chars == CHARS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["state_dict"].pop("wte"), "wte must be 6 rows"),
        (lambda d: d["state_dict"].pop("wpe"), "wpe must be"),
        (lambda d: d["state_dict"].pop("lm_head"), "lm_head must be 6 rows of 8 numbers"),
        (lambda d: d["state_dict"].pop("layer1.attn_wq"), "layer1.attn_wq must be 8 rows of 8 numbers"),
        (lambda d: d["state_dict"].pop("layer0.mlp_fc2"), "layer0.mlp_fc2 must be 8 rows of 32 numbers"),
        (lambda d: d["state_dict"]["layer0.mlp_fc1"].pop(), "layer0.mlp_fc1 must be 32 rows of 8 numbers"),
        (lambda d: d["state_dict"]["wte"].pop(), "wte must be 6 rows of 8 numbers"),
        (lambda d: d["state_dict"].update(wte=3), "wte must be 6 rows"),
        (lambda d: d["state_dict"].update(wte=[[]] * 6), "wte must be 6 rows"),
        (lambda d: d["state_dict"].update(extra=[[1.0]]), "a microGPT of 2 layers has no extra"),
        (lambda d: d["state_dict"].update({"layer3.attn_wq": [[1.0]]}), "has no layer3.attn_wq"),
        (lambda d: d["state_dict"].update({"layer0.bias": [[1.0]]}), "has no layer0.bias"),
        (lambda d: d["state_dict"]["wpe"][0].pop(), "rows of numbers"),
        (lambda d: d["state_dict"].update(wpe="abc"), "rows of numbers"),
        (lambda d: d["state_dict"].update(wpe=[[None] * 8]), "wpe must be 1 rows of 8 numbers"),
        (lambda d: d.pop("state_dict"), "rows of numbers"),
        (lambda d: d.update(state_dict=[]), "rows of numbers"),
        (lambda d: d.pop("chars"), "expected chars"),
        (lambda d: d.update(chars=[1, 2]), "expected chars"),
        (lambda d: d.update(chars="abcdef"), "wte must be 7 rows"),
        (lambda d: d.update(n_head="2"), "n_head"),
        (lambda d: d.update(n_head=3), "n_head must divide n_embd"),
        (lambda d: d.update(n_head=0), "n_head must divide n_embd"),
    ],
)
def test_invalid_weights_are_an_error_that_names_the_cause(tmp_path, change, message):
    content = {"chars": CHARS, "n_head": 2, "state_dict": random_weights(2)}
    change(content)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as error:
        microgpt.load(path)
    assert str(error.value).startswith(str(path))


def test_npz_and_json_give_the_same_model(tmp_path):
    weights = random_weights(2)
    np.savez(tmp_path / "a.npz", chars=list(CHARS), n_head=2, **weights)
    chars, params, n_head = microgpt.load(tmp_path / "a.npz")
    expected = microgpt.load(write(tmp_path / "a.json", weights))
    assert (chars, n_head) == (expected[0], expected[2])
    ids = np.arange(N_CTX) % 6
    logits = microgpt.microgpt(ids, **params, n_head=n_head)
    np.testing.assert_array_equal(logits, microgpt.microgpt(ids, **expected[1], n_head=n_head))


def test_damaged_npz_is_an_error(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, chars=CHARS, n_head=2, **random_weights(2))
    content = path.read_bytes()
    np.savez(path, chars=CHARS, n_head=2, wte=np.array([{}], dtype=object))
    for damaged in (path.read_bytes(), content[:0], content[:1000], content[:-30], b"junk"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.npz: "):
            microgpt.load(path)


def test_bad_input_is_a_one_line_error(run_experiment, tmp_path):
    (tmp_path / "cut.json").write_text('{"chars": "ab', encoding="utf-8")
    for arguments, status in [
        (["missing.json"], 1),
        (["cut.json"], 1),
        ([tmp_path], 1),
        (["--temperature=-1"], 2),
        (["--temperature=hot"], 2),
        (["--n_names=-1"], 2),
        (["--seed=x"], 2),
    ]:
        code, out, err = run_experiment("microgpt.py", *arguments)
        assert (code, out, err.count("\n")) == (status, "", 1), err
        assert err.startswith("microgpt.py: ")
