"""JSON lines: many prompts, many samples, log-probabilities."""

import contextlib
import io
import random
import re
import signal

import pytest
from support.command_line import DEMO, PROMPT, PROMPTS, QUIET, json_lines, read_rest
from support.paths import posix

import gpt2
from cli import flags
from generation.scoring import log_softmax


@pytest.fixture
def prompts_file(tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    return "--prompts_file=prompts.txt"


@pytest.fixture
def complete_here(tmp_path):
    """complete_here(prompts, **flags): call `main` in this process, and decode its JSON lines."""

    def complete_here(prompts, **options):
        path = tmp_path / "prompts"
        path.write_text("\n".join(prompts), encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            flags.main(model_size="demo", prompts_file=str(path), quiet=True, **options)
        return json_lines(stdout.getvalue())

    return complete_here


# Each prompt gets the text that it gets alone.


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_prompts_get_the_same_text_as_alone(run, demo, prompts_file, generated_ids, batch_size):
    encoder, _, _ = demo
    status, stdout, stderr = run(prompts_file, DEMO, QUIET, "-n=12", f"--batch_size={batch_size}")
    assert (status, stderr) == (0, "")
    assert json_lines(stdout) == [
        {"prompt": prompt, "text": encoder.decode(ids), "tokens": ids, "finish_reason": "length"}
        for prompt in PROMPTS
        for ids in [generated_ids(prompt, 12)]
    ]


def test_prompts_of_mixed_lengths_come_out_in_input_order(demo, complete_here, generated_ids):
    """100 prompts: with batches of 7 they are sorted by length in several windows, by default in one."""
    encoder, _, _ = demo
    rng = random.Random(1)
    words = ["the", "king", "said", "that", "a", "golden", "bird", "sang", "naïve", "songs"]
    lengths_in_words = rng.choices((1, 2, 3, 5, 8, 13, 40), k=100)
    prompts = [" ".join(rng.choices(words, k=n_words)) for n_words in lengths_in_words]
    lengths = [len(encoder.encode(prompt)) for prompt in prompts]
    assert min(lengths) < 3
    assert max(lengths) > 40
    assert lengths != sorted(lengths)
    expected = [generated_ids(prompt, 4) for prompt in prompts]
    for batch_size in (7, None):
        results = complete_here(prompts, n_tokens_to_generate=4, batch_size=batch_size)
        assert [result["prompt"] for result in results] == prompts
        assert [result["tokens"] for result in results] == expected
        assert [result["text"] for result in results] == [encoder.decode(ids) for ids in expected]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_seed_gives_each_prompt_its_own_text(run, demo, prompts_file, generated_ids, batch_size):
    """The same text as alone. A repeated prompt gets the text of the next sample."""
    encoder, _, _ = demo
    status, stdout, _ = run(prompts_file, DEMO, QUIET, "-n=12", "--seed=4", f"--batch_size={batch_size}")
    tokens = [result["tokens"] for result in json_lines(stdout)]
    expected = [
        generated_ids(prompt, 12, temperature=1, seed=[4, PROMPTS[:n].count(prompt), *encoder.encode(prompt)])
        for n, prompt in enumerate(PROMPTS)
    ]
    assert (status, tokens) == (0, expected)
    assert run("The king", DEMO, QUIET, "-n=12", "--seed=4")[1] == encoder.decode(tokens[1]) + "\n"
    assert tokens[1] != tokens[4]


def test_samples_continue_one_prompt(run, demo, generated_ids):
    encoder, _, _ = demo
    status, stdout, _ = run(PROMPT, DEMO, QUIET, "-n=12", "--seed=4", "--n_samples=10", "--batch_size=3")
    seeds = [[4, n, *encoder.encode(PROMPT)] for n in range(10)]
    expected = [generated_ids(PROMPT, 12, temperature=1, seed=seed) for seed in seeds]
    assert (status, [result["tokens"] for result in json_lines(stdout)]) == (0, expected)
    assert len({tuple(ids) for ids in expected}) == 10


def test_samples_of_many_prompts(run, prompts_file):
    status, stdout, stderr = run(prompts_file, DEMO, "-n=3", "--n_samples=2", "--batch_size=5", "--seed=1")
    assert status == 0
    assert [result["prompt"] for result in json_lines(stdout)] == [text for text in PROMPTS for _ in range(2)]
    assert re.fullmatch(r"54 tokens, .*\n", stderr)


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "shapes"),
    [
        (1, 8, [(3, 2), (3, 1)]),
        (1, 2, [(2, 1), (2, 1), (1, 2), (1, 1)]),
        (2, 4, [(2, 1), (4, 1), (1, 2), (2, 1)]),
        (2, 5, [(3, 2), (5, 1), (1, 2), (1, 1)]),
        (3, 1, [(1, 1), (1, 1)] * 5 + [(1, 2), (1, 1)] * 3 + [(1, 1), (1, 1)]),
        (3, None, [(3, 2), (9, 1)]),
        (20, None, [(1, 1), (20, 1), (1, 1), (20, 1), (1, 2), (20, 1)]),
    ],
)
def test_batches_have_similar_lengths_and_compute_equal_prompts_once(
    forward_passes, complete_here, demo, n_samples, batch_size, shapes
):
    """Shapes are (n_batch, n_seq). A window is 8 batches: with batches of 1, the ninth text has its own."""
    encoder, _, _ = demo
    prompts = ["Zoo", "A", "I"]
    assert [len(encoder.encode(text)) for text in prompts] == [2, 1, 1]
    options = {"n_tokens_to_generate": 2, "seed": 1}
    results = complete_here(prompts, n_samples=n_samples, batch_size=batch_size, **options)
    assert [inputs for inputs, _ in forward_passes] == shapes
    assert len(results) == 3 * n_samples


# The results.


def test_log_probabilities(run, demo):
    encoder, hparams, params = demo
    status, stdout, _ = run(PROMPT, DEMO, QUIET, "-n=5", "--logprobs=3", "--temperature=0.5", "--seed=2")
    (result,) = json_lines(stdout)
    ids = encoder.encode(PROMPT)
    assert status == 0
    assert [token["id"] for token in result["logprobs"]] == result["tokens"]
    for token in result["logprobs"]:
        log_probs = log_softmax(gpt2.gpt2(ids, **params, n_head=hparams["n_head"])[-1])
        top_ids = sorted(range(4096), key=lambda token_id: -log_probs[token_id])[:3]
        expected_ids = [token["id"], *top_ids]
        for entry, token_id in zip([token, *token["top_logprobs"]], expected_ids, strict=True):
            assert entry["id"] == token_id
            assert entry["token"] == encoder.decode([token_id])
            assert entry["logprob"] == pytest.approx(log_probs[token_id], abs=1e-4)
        ids.append(token["id"])


def test_stop_strings_end_each_text_of_a_batch(run, demo, prompts_file, generated_ids):
    encoder, _, _ = demo
    status, stdout, _ = run(prompts_file, DEMO, QUIET, "-n=10", "--stop=the", "--stop=\n\n")
    reasons = []
    for prompt, result in zip(PROMPTS, json_lines(stdout), strict=True):
        text = encoder.decode(generated_ids(prompt, 10))
        end = min((text.index(stop) for stop in ("the", "\n\n") if stop in text), default=None)
        assert result["text"] == text[:end]
        assert result["finish_reason"] == ("length" if end is None else "stop")
        assert result["tokens"] == generated_ids(prompt, len(result["tokens"]))
        reasons.append(result["finish_reason"])
    assert status == 0
    assert set(reasons) == {"stop", "length"}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_is_lossless_in_any_encoding(run, encoding):
    prompt = "naïve 你好 🙂"
    status, stdout, stderr = run(prompt, DEMO, QUIET, "--logprobs=1", "-n=3", PYTHONIOENCODING=encoding)
    assert (status, stderr) == (0, "")
    assert json_lines(stdout)[0]["prompt"] == prompt
    assert (prompt in stdout) == (encoding == "utf-8")


# Ctrl-C.


@posix
@pytest.mark.parametrize("batch_size", [1, 4])
def test_ctrl_c_leaves_whole_lines(start, tmp_path, batch_size):
    """Lines print while later ones are computed. After Ctrl-C, stdout ends with a whole line."""
    prompts = [f"Chapter {n}" for n in range(400)]
    (tmp_path / "prompts").write_text("\n".join(prompts))
    process = start(DEMO, QUIET, "--prompts_file=prompts", f"--batch_size={batch_size}", "-n=20")
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, stderr = read_rest(process)
    results = json_lines(first + rest)
    assert (process.returncode, stderr) == (130, "")
    assert 0 < len(results) < 400
    assert [result["prompt"] for result in results] == prompts[: len(results)]
    assert [len(result["tokens"]) for result in results] == [20] * len(results)
