"""--score: the log-probability of each token."""

import json
import math
import shutil
import signal

import numpy as np
import pytest
from support.bundle_writer import write_bundle
from support.command_line import DEMO, PROMPT, QUIET, read_rest
from support.paths import posix

from generation.scoring import log_softmax, score
from gpt2 import gpt2
from loading.tf_checkpoint import read_tf_checkpoint
from utils import DEMO_DIR


def test_scores_are_log_probabilities(run, demo):
    encoder, hparams, params = demo
    text = "The king gave his daughter café 🙂"
    ids = [encoder.end_of_text, *encoder.encode(text)]
    log_probs = log_softmax(gpt2(ids[:-1], **params, n_head=hparams["n_head"]))
    expected = [log_probs[n, token_id] for n, token_id in enumerate(ids[1:])]
    status, stdout, stderr = run(text, "--score", DEMO)
    *tokens, total, perplexity = [line.split(maxsplit=1) for line in stdout.splitlines()]
    assert (status, stderr) == (0, "")
    assert [float(number) for number, _ in tokens] == pytest.approx(expected, abs=1e-4)
    assert [json.loads(token) for _, token in tokens] == [encoder.decode([token_id]) for token_id in ids[1:]]
    assert float(total[0]) == pytest.approx(sum(expected), abs=1e-3)
    assert float(perplexity[0]) == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-4)
    assert [total[1], perplexity[1]] == ["total, in nats", "perplexity"]


def test_scores_of_a_text_longer_than_the_context(run, demo):
    encoder, hparams, params = demo
    text = "The king gave his daughter to the youngest son. " * 40
    ids = [encoder.end_of_text, *encoder.encode(text)]
    assert len(ids) > 300
    for flags, stride in [([], None), (["--stride=64"], 64)]:
        status, stdout, stderr = run("--score", DEMO, *flags, piped=text)
        scores = [float(line.split()[0]) for line in stdout.splitlines()[:-2]]
        assert (status, stderr) == (0, "")
        assert scores == pytest.approx(score(ids, params, hparams["n_head"], stride), abs=1e-4)


def test_perplexity_beyond_the_largest_float_is_a_power_of_ten(run, tmp_path):
    """This model is overconfident, and wrong."""
    folder = shutil.copytree(DEMO_DIR, tmp_path / "overconfident")
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    variables["model/ln_f/g"] = variables["model/ln_f/g"] * np.float32(1e4)
    write_bundle(folder / "model.ckpt", variables)
    status, stdout, stderr = run("The king", "--score", f"--model_size={folder}")
    *tokens, total, perplexity = [line.split(maxsplit=1) for line in stdout.splitlines()]
    assert (status, stderr, perplexity[1]) == (0, "", "perplexity")
    mantissa, exponent = map(float, perplexity[0].split("e+"))
    nats = -float(total[0]) / len(tokens)
    assert exponent + math.log10(mantissa) == pytest.approx(nats / math.log(10), abs=1e-4)
    assert float(total[0]) == pytest.approx(sum(float(number) for number, _ in tokens), abs=1e-3)
    assert float(total[0]) < -1000 * len(tokens)


@posix
def test_scores_print_window_by_window(start):
    process = start(DEMO, QUIET, "--score", "--stride=1", PROMPT * 60)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = read_rest(process)
    assert process.returncode == 130
    assert first.endswith("\n")
    assert not rest.endswith("perplexity\n")
    assert rest.count("\n") < 300
