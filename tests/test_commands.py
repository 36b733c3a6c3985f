"""What `python gpt2.py` does, in real processes, pipes and terminals: prompts in, text and JSON lines out."""

import contextlib
import io
import json
import math
import os
import re
import select
import shutil
import signal
import struct
import time

import numpy as np
import pytest
from bundle_writer import write_bundle

import batch
import commands
import gpt2
from checkpoint import read_tf_checkpoint
from sampling import log_softmax
from utils import DEMO_DIR

PROMPT = "Once upon a time"
DEMO = "--model_size=demo"
QUIET = "--quiet"
with contextlib.suppress(ImportError):  # POSIX
    import fcntl
    import termios

posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture(scope="session")
def continued(demo):
    """continued(prompt, n, **options): the ids that the demo model goes on with, computed in this process."""
    encoder, hparams, params = demo

    def continued(prompt, n=40, **options):
        ids = encoder.encode(prompt) or [4095]
        return list(gpt2.generate(ids, params, hparams["n_head"], n, stop_id=4095, **options))

    return continued


@pytest.fixture(scope="session")
def text_of(demo, continued):
    """text_of(prompt, n, **options): the same, as it is printed."""
    encoder, _, _ = demo
    return lambda *args, **options: encoder.decode(continued(*args, **options)) + "\n"


def json_lines(stdout):
    return [json.loads(line) for line in stdout.split("\n")[:-1]]  # a text may have U+2028


# Where prompts come from.


@pytest.mark.parametrize(
    ("arguments", "piped"),
    [
        ([], PROMPT),
        ([], PROMPT + "\n"),
        ([], PROMPT + "\r\n"),
        ([], "\ufeff" + PROMPT),
        (["-"], PROMPT),
        (["--prompt_file=-"], PROMPT),
        (["--prompt_file", "-"], PROMPT),
    ],
)
def test_a_prompt_through_a_pipe(run, text_of, arguments, piped):
    assert run(DEMO, QUIET, "-n=4", *arguments, piped=piped) == (0, text_of(PROMPT, 4), "")


def test_a_prompt_in_a_file(run, text_of, tmp_path):
    (tmp_path / "prompt.txt").write_text("  Two\nlines, ünd é 🙂\n\n", encoding="utf-8", newline="")
    expected = text_of("  Two\nlines, ünd é 🙂\n", 4)
    assert run(DEMO, QUIET, "-n=4", "--prompt_file=prompt.txt") == (0, expected, "")


def test_a_prompt_that_is_typed_comes_before_a_pipe(run, text_of):
    assert run(DEMO, QUIET, "-n=4", PROMPT, piped="The king") == (0, text_of(PROMPT, 4), "")


@pytest.mark.parametrize("arguments", [[], [""]])
def test_without_a_prompt_on_purpose(run, text_of, arguments):
    assert run(DEMO, QUIET, "-n=9", "--unconditional", *arguments) == (0, text_of("", 9), "")


@pytest.mark.parametrize("piped", ["", "\n"])
def test_a_pipe_with_nothing_in_it(run, piped):
    status, stdout, stderr = run(DEMO, piped=piped)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"gpt2\.py: the prompt is empty: .* --unconditional .*\n", stderr)


def test_a_pipe_that_is_no_text(run):
    status, stdout, stderr = run(DEMO, piped="caf\udce9")
    assert (status, stdout) == (2, "")
    assert stderr == "gpt2.py: - is not UTF-8: see byte 3\n"


# How tokens are chosen.


def test_the_flags_of_sampling_arrive(run, demo, text_of):
    encoder, _, _ = demo
    options = {"temperature": 0.9, "top_k": 10, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.5}
    flags = [f"--{name}={value}" for name, value in options.items()]
    seed = [7, 0, *encoder.encode(PROMPT)]
    expected = text_of(PROMPT, 30, **options, seed=seed)
    assert run(PROMPT, DEMO, QUIET, "-n=30", "--seed=7", *flags) == (0, expected, "")
    for name in options:
        others = {other: value for other, value in options.items() if other != name}
        assert text_of(PROMPT, 30, **{"temperature": 1} | others, seed=seed) != expected


@pytest.mark.parametrize("options", [{"seed": 3}, {"seed": 3, "top_k": 5}, {"seed": 3, "top_p": 0.5}])
def test_who_asks_for_chance_gets_temperature_1(run, demo, text_of, options):
    encoder, _, _ = demo
    flags = [f"--{name}={value}" for name, value in options.items()]
    seed = [3, 0, *encoder.encode(PROMPT)]
    expected = text_of(PROMPT, 9, temperature=1, **options | {"seed": seed})
    assert run(PROMPT, DEMO, QUIET, "-n=9", *flags) == (0, expected, "")
    assert run(PROMPT, DEMO, QUIET, "-n=9", *flags, "--temperature=0") == (0, text_of(PROMPT, 9), "")


def test_without_a_seed_runs_differ(run):
    assert len({run(PROMPT, DEMO, QUIET, "--temperature=1") for _ in range(2)}) == 2


# Where the text ends.


def test_stop_strings_end_the_text_and_are_not_printed(run, text_of):
    text = text_of(PROMPT, 12)
    assert text.startswith(", and the King's son was a great deal")
    stops = {"'s son w": ", and the King", "deal": ", and the King's son was a great ", "x": text[:-1]}
    for stop, end in stops.items():
        assert run(PROMPT, DEMO, QUIET, "-n=12", f"--stop={stop}") == (0, end + "\n", "")
    assert run(PROMPT, DEMO, QUIET, "--stop='s son w", "--stream=False") == (0, ", and the King\n", "")
    assert run(PROMPT, DEMO, QUIET, "--stop=deal", "--stop", "King", "--stop=son") == (0, ", and the \n", "")


@pytest.fixture
def short_spoken(tmp_path):
    """A model that ends its text where the demo's next token would be a full stop."""
    folder = tmp_path / "short_spoken"
    shutil.copytree(DEMO_DIR, folder)
    variables = {name: np.array(value) for name, value in read_tf_checkpoint(DEMO_DIR / "model.ckpt").items()}
    full_stop = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))["."]
    variables["model/wte"][4095] = variables["model/wte"][full_stop] * 1.01
    write_bundle(folder / "model.ckpt", variables)
    return folder


def test_the_end_of_text_ends_the_text_and_is_not_printed(run, text_of, short_spoken):
    text = text_of(PROMPT)
    assert text.startswith(", and the King's son was a great deal of his wife.\n\n")
    expected = ", and the King's son was a great deal of his wife\n"
    assert run(PROMPT, f"--model_size={short_spoken}", QUIET) == (0, expected, "")
    status, stdout, _ = run(PROMPT, f"--model_size={short_spoken}", "--logprobs=0", QUIET)
    (result,) = json_lines(stdout)
    assert (status, result["text"] + "\n", result["finish_reason"]) == (0, expected, "stop")
    assert len(result["logprobs"]) == len(result["tokens"]) < 40
    assert 4095 not in result["tokens"]


# How it is printed.


@posix
def test_text_comes_through_a_pipe_while_it_is_still_made(start, text_of):
    """Who reads the first word can stop the rest; it all would fit into one buffer."""
    process = start(PROMPT, DEMO, "-n=240", "--repetition_penalty=1.5")
    expected = text_of(PROMPT, 240, repetition_penalty=1.5)
    first = process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (first + rest).endswith("\n")
    assert expected.startswith((first + rest)[:-1])
    assert len(first + rest) < len(expected)


@posix
@pytest.mark.parametrize(
    "arguments", [["--prompts_file=prompts", "--batch_size=1", "-n=80"], ["--score", "--stride=1"]]
)
def test_lines_come_through_a_pipe_while_others_are_still_made(start, tmp_path, arguments):
    (tmp_path / "prompts").write_text("Once\n" * 5)
    text = [] if "-n=80" in arguments else [PROMPT * 60]
    process = start(DEMO, QUIET, *arguments, *text)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert first.endswith("\n")
    assert not rest.endswith("perplexity\n")
    assert rest.count("\n") < (4 if "-n=80" in arguments else 300)


def test_characters_of_several_tokens_are_not_broken(run, text_of):
    """A text that is all noise: tokens of single bytes in any order."""
    arguments = [PROMPT, DEMO, QUIET, "--temperature=50", "--seed=1", "-n=60"]
    status, stdout, _ = run(*arguments)
    assert (status, stdout) == (0, run(*arguments, "--stream=False")[1])
    assert not stdout.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_lacks_characters_does_no_harm(start, run, encoding):
    arguments = [PROMPT, DEMO, QUIET, "--temperature=50", "--seed=1", "-n=60"]
    text = run(*arguments)[1]
    process = start(*arguments, PYTHONIOENCODING=encoding)
    process.stdout.reconfigure(encoding=encoding)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == text.encode(encoding, "replace").decode(encoding)
    assert "?" in stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_loses_nothing_in_any_encoding(run, encoding):
    prompt = "naïve 你好 🙂"
    status, stdout, stderr = run(prompt, DEMO, QUIET, "--logprobs=1", "-n=3", PYTHONIOENCODING=encoding)
    assert (status, stderr) == (0, "")
    assert json_lines(stdout)[0]["prompt"] == prompt
    assert (prompt in stdout) == (encoding == "utf-8")


def test_the_statistics_are_one_line(run, continued, text_of):
    start = time.monotonic()
    status, stdout, stderr = run(PROMPT, DEMO, "-n=25")
    most = time.monotonic() - start
    assert (status, stdout) == (0, text_of(PROMPT, 25))
    n_tokens, seconds, rate = re.fullmatch(r"(\d+) tokens, ([\d.]+) s, ([\d.]+) tokens/s\n", stderr).groups()
    assert n_tokens == "25"
    assert 0 < float(seconds) < most
    assert float(rate) == pytest.approx(25 / float(seconds), rel=0.2)


@posix
@pytest.mark.parametrize("arguments", [["--stream=False"], ["--n_samples=2"], ["--score"]], ids=str)
def test_a_bar_shows_what_takes_longer_than_two_seconds(start, arguments):
    arguments = [*arguments, "--stride=1"] if arguments == ["--score"] else [*arguments, "-n=100000"]
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # lines and columns
    process = start(PROMPT * 1000, DEMO, *arguments, streams={"stderr": theirs})
    os.close(theirs)
    seen = read_terminal(ours, r"\d+/\d+ \[\d\d:\d\d<.*token/s\]")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in seen + read_terminal(ours)
    os.close(ours)


@posix
@pytest.mark.parametrize("arguments", [[], ["--stream=False"]])
def test_ctrl_c_keeps_the_text_there_is(start, text_of, arguments):
    process = start(PROMPT, DEMO, "-n=100000", "--repetition_penalty=1.5", *arguments)
    if arguments:
        time.sleep(2)
    else:
        process.stdout.read(1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr.replace(CONTEXT_IS_FULL, "")) == (130, "")
    assert stdout.endswith("\n")
    assert stdout[1:20] in text_of(PROMPT, 40, repetition_penalty=1.5)


@posix
@pytest.mark.parametrize("n", range(2))
def test_ctrl_c_prints_nothing_twice(terminal, text_of, n):
    """In a terminal, where a process may be interrupted while it writes."""
    process, keyboard = terminal(PROMPT, "-n=240", QUIET, "--repetition_penalty=1.5")
    first = read_terminal(keyboard, "and|[A-Z]")
    time.sleep(0.1 + 0.05 * n)
    process.send_signal(signal.SIGINT)
    text = first + read_terminal(keyboard)
    assert process.wait(timeout=60) == 130
    assert text_of(PROMPT, 240, repetition_penalty=1.5).startswith(text.removesuffix("\n"))


@posix
def test_ctrl_c_keeps_what_may_have_been_a_stop_string(start, text_of):
    expected = text_of(PROMPT, 240, repetition_penalty=1.5)
    process = start(PROMPT, DEMO, "-n=240", "--repetition_penalty=1.5", f"--stop={expected[20:]}!")
    first = process.stdout.read(20)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    text = first + process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert expected.startswith(text.removesuffix("\n"))
    assert len(text) > 30


# Many texts.

PROMPTS = [
    "Once upon a time",
    "The king",
    "A",
    'the king, who was "old"',
    "The king",
    "naïve 你好 🙂",
    "Then",
    "A",
    "x",
]


@pytest.fixture
def prompts_file(tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    return "--prompts_file=prompts.txt"


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_results_are_what_each_prompt_gives_alone(run, demo, prompts_file, continued, batch_size):
    encoder, _, _ = demo
    status, stdout, stderr = run(prompts_file, DEMO, QUIET, "-n=12", f"--batch_size={batch_size}")
    assert (status, stderr) == (0, "")
    assert json_lines(stdout) == [
        {"prompt": prompt, "text": encoder.decode(ids), "tokens": ids, "finish_reason": "length"}
        for prompt in PROMPTS
        for ids in [continued(prompt, 12)]
    ]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_seed_gives_each_prompt_its_own_text(run, demo, prompts_file, continued, batch_size):
    """The one that it has alone; for a prompt that is there again, the one of the next sample."""
    encoder, _, _ = demo
    status, stdout, _ = run(prompts_file, DEMO, QUIET, "-n=12", "--seed=4", f"--batch_size={batch_size}")
    tokens = [result["tokens"] for result in json_lines(stdout)]
    expected = [
        continued(prompt, 12, temperature=1, seed=[4, PROMPTS[:n].count(prompt), *encoder.encode(prompt)])
        for n, prompt in enumerate(PROMPTS)
    ]
    assert (status, tokens) == (0, expected)
    assert run("The king", DEMO, QUIET, "-n=12", "--seed=4")[1] == encoder.decode(tokens[1]) + "\n"
    assert tokens[1] != tokens[4]


def test_samples_are_texts_of_one_prompt(run, demo, continued):
    encoder, _, _ = demo
    status, stdout, _ = run(PROMPT, DEMO, QUIET, "-n=12", "--seed=4", "--n_samples=10", "--batch_size=3")
    seeds = [[4, n, *encoder.encode(PROMPT)] for n in range(10)]
    expected = [continued(PROMPT, 12, temperature=1, seed=seed) for seed in seeds]
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
        (1, 2, [(2, 2), (2, 1), (1, 1), (1, 1)]),
        (2, 4, [(2, 2), (4, 1), (1, 1), (2, 1)]),
        (2, 5, [(3, 2), (5, 1), (1, 1), (1, 1)]),
        (3, 1, [(1, 2), (1, 1)] * 3 + [(1, 1), (1, 1)] * 6),
        (3, None, [(2, 2), (6, 1), (1, 1), (3, 1)]),
        (20, None, [(1, 2), (20, 1), (1, 1), (20, 1), (1, 1), (20, 1)]),
    ],
)
def test_texts_are_written_batch_size_at_a_time_and_each_prompt_computed_once(
    monkeypatch, tmp_path, demo, n_samples, batch_size, shapes
):
    encoder, _, _ = demo
    assert [len(encoder.encode(text)) for text in ("Once", "A", "I")] == [2, 1, 1]
    (tmp_path / "prompts").write_text("Once\nA\nI")
    computed, forward_pass = [], batch.gpt2

    def recorded(inputs, **kwargs):
        computed.append(np.shape(inputs))
        return forward_pass(inputs, **kwargs)

    monkeypatch.setattr(batch, "gpt2", recorded)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        commands.main(
            n_tokens_to_generate=2,
            model_size="demo",
            prompts_file=str(tmp_path / "prompts"),
            n_samples=n_samples,
            batch_size=batch_size,
            seed=1,
            quiet=True,
        )
    assert computed == shapes
    assert len(json_lines(stdout.getvalue())) == 3 * n_samples


def test_log_probabilities(run, demo):
    encoder, hparams, params = demo
    status, stdout, _ = run(PROMPT, DEMO, QUIET, "-n=5", "--logprobs=3", "--temperature=0.5", "--seed=2")
    (result,) = json_lines(stdout)
    ids = encoder.encode(PROMPT)
    assert status == 0
    assert [token["id"] for token in result["logprobs"]] == result["tokens"]
    for token in result["logprobs"]:
        log_probs = log_softmax(gpt2.gpt2(ids, **params, n_head=hparams["n_head"])[-1])
        best = sorted(range(4096), key=lambda id: -log_probs[id])[:3]
        for entry, id in zip([token, *token["top_logprobs"]], [token["id"], *best], strict=True):
            assert entry["id"] == id
            assert entry["token"] == encoder.decode([id])
            assert entry["logprob"] == pytest.approx(log_probs[id], abs=1e-4)
        ids.append(token["id"])


def test_stop_strings_end_each_text_of_a_batch(run, demo, prompts_file, continued):
    encoder, _, _ = demo
    status, stdout, _ = run(prompts_file, DEMO, QUIET, "-n=30", "--stop=the", "--stop=\n\n")
    reasons = []
    for prompt, result in zip(PROMPTS, json_lines(stdout), strict=True):
        text = encoder.decode(continued(prompt, 30))
        end = min((text.index(stop) for stop in ("the", "\n\n") if stop in text), default=None)
        assert result["text"] == text[:end]
        assert result["finish_reason"] == ("length" if end is None else "stop")
        assert result["tokens"] == continued(prompt, len(result["tokens"]))
        reasons.append(result["finish_reason"])
    assert status == 0
    assert set(reasons) == {"stop", "length"}


@pytest.mark.parametrize("source", ["file", "pipe"])
def test_prompts_as_json_lines(run, source, tmp_path):
    lines = "".join(json.dumps({"id": 1, "prompt": prompt}) + "\n" for prompt in [*PROMPTS, "two\nlines"])
    (tmp_path / "prompts").write_text(lines, encoding="utf-8")
    if source == "file":
        status, stdout, _ = run("--prompts_file=prompts", DEMO, QUIET, "-n=1")
    else:
        status, stdout, _ = run("--prompts_file=-", DEMO, QUIET, "-n=1", piped=lines)
    assert status == 0
    assert [result["prompt"] for result in json_lines(stdout)] == [*PROMPTS, "two\nlines"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "line 1: the prompt is empty"),
        ("one\n\nthree\n", "line 2: the prompt is empty"),
        ("\none\n", "line 1: the prompt is empty"),
        ('{"prompt": "one"}\ntwo\n', 'line 2: it is not a JSON object with a text as "prompt"'),
        ('{"prompt": "one"}\n{"text": "two"}\n', "line 2: it is not"),
        ('{"prompt": "one"}\n{"prompt": 2}\n', "line 2: it is not"),
        ('{"prompt": "one"}\n["prompt"]\n', "line 2: it is not"),
        ('{"prompt": ""}\n', "line 1: the prompt is empty"),
        ('{"prompt": "\\ud800"}\n', "line 1: it is not"),
        ('{"prompt": ' + "[" * 100_000, "line 1: it is not"),
        ("caf\udce9\n", "is not UTF-8: see byte 3"),
    ],
)
def test_a_line_that_is_no_prompt_is_named_before_anything_is_written(run_here, tmp_path, content, fault):
    (tmp_path / "prompts").write_bytes(content.encode("utf-8", "surrogateescape"))
    status, stdout, stderr = run_here(f"--prompts_file={tmp_path / 'prompts'}", DEMO)
    assert (status, stdout) == (2, "")
    assert stderr.startswith(f"gpt2.py: {tmp_path / 'prompts'}")
    assert fault in stderr
    assert stderr.count("\n") == 1


# Long text.

CONTEXT_IS_FULL = "gpt2.py: the context of 256 tokens is full: its newest half is kept\n"
PROMPT_IS_LONG = "gpt2.py: the prompt has more than the 256 tokens this model can see: its end is used\n"


@pytest.mark.filterwarnings(
    "ignore:the context of 256 tokens is full", "ignore:the prompt has more than the 256"
)
def test_long_texts_say_once_what_they_forget(run, demo, text_of):
    encoder, _, _ = demo
    assert run(PROMPT, DEMO, QUIET, "-n=400") == (0, text_of(PROMPT, 400), CONTEXT_IS_FULL)
    prompt = " word" * 300
    assert len(encoder.encode(prompt)) > 256
    expected = text_of(prompt, 4)
    assert run(prompt, DEMO, QUIET, "-n=4") == (0, expected, PROMPT_IS_LONG + CONTEXT_IS_FULL)
    assert run(prompt, DEMO, QUIET, "-n=1") == (0, text_of(prompt, 1), PROMPT_IS_LONG)


def test_exactly_the_context_fits(run, demo, text_of):
    encoder, _, _ = demo
    n_prompt = len(encoder.encode(PROMPT))
    n = 256 - n_prompt + 1  # the last one needs no place: nothing comes after it
    assert run(PROMPT, DEMO, QUIET, f"-n={n}") == (0, text_of(PROMPT, n), "")


# Scores.


def test_scores_are_the_log_probabilities_of_the_text(run, demo):
    encoder, hparams, params = demo
    text = "The king gave his daughter café 🙂"
    ids = [4095, *encoder.encode(text)]
    log_probs = log_softmax(gpt2.gpt2(ids[:-1], **params, n_head=hparams["n_head"]))
    expected = [log_probs[n, id] for n, id in enumerate(ids[1:])]
    status, stdout, stderr = run(text, "--score", DEMO)
    *tokens, total, perplexity = [line.split(maxsplit=1) for line in stdout.splitlines()]
    assert (status, stderr) == (0, "")
    assert [float(number) for number, _ in tokens] == pytest.approx(expected, abs=1e-4)
    assert [json.loads(token) for _, token in tokens] == [encoder.decode([id]) for id in ids[1:]]
    assert float(total[0]) == pytest.approx(sum(expected), abs=1e-3)
    assert float(perplexity[0]) == pytest.approx(math.exp(-sum(expected) / len(expected)), rel=1e-4)
    assert [total[1], perplexity[1]] == ["in all, in nats", "perplexity"]


def test_scores_of_a_text_longer_than_the_context(run, demo):
    encoder, hparams, params = demo
    text = "The king gave his daughter to the youngest son. " * 40
    ids = [4095, *encoder.encode(text)]
    assert len(ids) > 300
    for flags, stride in [([], None), (["--stride=64"], 64)]:
        status, stdout, stderr = run("--score", DEMO, *flags, piped=text)
        scores = [float(line.split()[0]) for line in stdout.splitlines()[:-2]]
        assert (status, stderr) == (0, "")
        assert scores == pytest.approx(gpt2.score(ids, params, hparams["n_head"], stride), abs=1e-4)


def test_a_perplexity_beyond_all_numbers_is_infinite(run, tmp_path):
    """A model that is very sure, and wrong."""
    folder = shutil.copytree(DEMO_DIR, tmp_path / "sure")
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    variables["model/ln_f/g"] = variables["model/ln_f/g"] * np.float32(1e4)
    write_bundle(folder / "model.ckpt", variables)
    status, stdout, stderr = run("The king", "--score", f"--model_size={folder}")
    *tokens, total, perplexity = [line.split(maxsplit=1) for line in stdout.splitlines()]
    assert (status, stderr, perplexity) == (0, "", ["inf", "perplexity"])
    assert float(total[0]) == pytest.approx(sum(float(number) for number, _ in tokens), abs=1e-3)
    assert float(total[0]) < -1000 * len(tokens)


# A conversation in a terminal.


def read_terminal(terminal, until=None, timeout=60):
    """What comes out of a terminal, until there is a match, or until it is closed."""
    seen = b""
    deadline = time.monotonic() + timeout
    while until is None or not re.search(until.encode(), seen):
        readable, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert readable, seen.decode(errors="replace")
        try:
            new = os.read(terminal, 10_000)
        except OSError:  # Linux's way to say that it is closed
            new = b""
        if not new:
            assert until is None, seen.decode(errors="replace")
            break
        seen += new
    return seen.decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture
def terminal(start):
    """terminal(*arguments): a process with a terminal of its own -> (process, the terminal's other end)."""
    ends = []

    def terminal(*arguments):
        ours, theirs = os.openpty()
        ends.append(ours)
        process = start(
            DEMO, *arguments, streams=dict.fromkeys(("stdin", "stdout", "stderr"), theirs), TERM="xterm"
        )
        os.close(theirs)
        return process, ours

    yield terminal
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


@posix
def test_a_conversation(terminal, text_of):
    process, keyboard = terminal("-n=5")
    read_terminal(keyboard, "> $")
    os.write(keyboard, b"The king\n")
    assert text_of("The king", 5) in read_terminal(keyboard, "tokens/s\r\n.*> $")
    os.write(keyboard, b"\n")  # no prompt: nothing happens
    assert "tokens" not in read_terminal(keyboard, "> $")
    os.write(keyboard, "naïve 🙂\n".encode())
    assert text_of("naïve 🙂", 5) in read_terminal(keyboard, "tokens/s\r\n.*> $")
    os.write(keyboard, b"\x1b[A\x1b[A\n")  # twice the arrow up
    assert text_of("The king", 5) in read_terminal(keyboard, "tokens/s\r\n.*> $")
    os.write(keyboard, b"\x04")  # Ctrl-D
    assert "Traceback" not in read_terminal(keyboard)
    assert process.wait(timeout=60) == 0


@posix
def test_ctrl_c_in_a_conversation_stops_the_answer_only(terminal, text_of):
    process, keyboard = terminal("-n=100000", "--repetition_penalty=1.5", QUIET)
    read_terminal(keyboard, "> $")
    os.write(keyboard, b"The king\n")
    beginning = text_of("The king", 20, repetition_penalty=1.5)[:30]
    read_terminal(keyboard, re.escape(beginning))
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in read_terminal(keyboard, "\n> $")
    os.write(keyboard, b"half a prompt")
    read_terminal(keyboard, "half a prompt")
    time.sleep(0.5)  # readline does not notice a signal between the echo and its waiting for the next key
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in read_terminal(keyboard, "\n> $")
    os.write(keyboard, b"Once\n")
    read_terminal(keyboard, re.escape(text_of("Once", 20, repetition_penalty=1.5)[:30]))
    process.send_signal(signal.SIGINT)
    read_terminal(keyboard, "\n> $")
    os.write(keyboard, b"\x04")
    assert process.wait(timeout=60) == 0


@posix
def test_a_prompt_that_is_no_text_does_not_end_the_conversation(terminal):
    process, keyboard = terminal("-n=5")
    read_terminal(keyboard, "> $")
    os.write(keyboard, b"caf\xe9\n")
    assert "Traceback" not in read_terminal(keyboard, "\n.*> $")
    os.write(keyboard, b"\x04")
    assert process.wait(timeout=60) == 0
