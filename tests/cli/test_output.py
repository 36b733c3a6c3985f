"""Streamed text: where it ends, when it appears, encodings, and Ctrl-C."""

import signal
import time

import pytest
from support.command_line import CONTEXT_IS_FULL, DEMO, PROMPT, QUIET, json_lines, read_rest, read_terminal
from support.paths import posix

from encoder import END_OF_TEXT
from gpt2 import generate
from utils import load_encoder_hparams_and_params

PROMPT_IS_LONG = "gpt2.py: the prompt exceeds the context of 256 tokens: only its end is used\n"

# Where the text ends.


def test_stop_strings_end_the_text_and_are_not_printed(run, generated_text):
    text = generated_text(PROMPT, 12).removesuffix("\n")
    assert len(text) > 30
    for stop in (text[3:9], text[-5:], "~"):
        assert run(PROMPT, DEMO, QUIET, "-n=12", f"--stop={stop}") == (0, text.split(stop)[0] + "\n", "")
    first, second, third = text[5:11], text[14:19], text[22:28]
    expected = text.split(first)[0] + "\n"
    assert run(PROMPT, DEMO, QUIET, f"--stop={first}", "--stream=False") == (0, expected, "")
    stops = [f"--stop={third}", "--stop", second, f"--stop={first}"]
    assert run(PROMPT, DEMO, QUIET, *stops) == (0, expected, "")


@pytest.fixture
def laconic_model(edited_demo):
    """A model that ends its text where the demo model's next token is a full stop."""

    def prefer_end_of_text(wte, vocabulary):
        wte[vocabulary[END_OF_TEXT]] = wte[vocabulary["."]] * 1.01

    return edited_demo(prefer_end_of_text)


def test_end_of_text_ends_the_text_and_is_not_printed(run, generated_text, laconic_model):
    expected = generated_text(PROMPT).split(".")[0] + "\n"
    assert run(PROMPT, f"--model_size={laconic_model}", QUIET) == (0, expected, "")
    status, stdout, _ = run(PROMPT, f"--model_size={laconic_model}", "--logprobs=0", QUIET)
    (result,) = json_lines(stdout)
    assert (status, result["text"] + "\n", result["finish_reason"]) == (0, expected, "stop")
    assert len(result["logprobs"]) == len(result["tokens"]) < 40
    assert 4095 not in result["tokens"]


# Long texts.


@pytest.fixture
def endless_text(endless_model):
    """endless_text(n): n tokens of the endless model's text, computed in this process."""
    encoder, hparams, params = load_encoder_hparams_and_params(str(endless_model))
    ids = encoder.encode(PROMPT)
    return lambda n: encoder.decode(list(generate(ids, params, hparams["n_head"], n))) + "\n"


@pytest.mark.filterwarnings(
    "ignore:the context of 256 tokens is full", "ignore:the prompt exceeds the context"
)
def test_long_texts_warn_once(run, demo, generated_text, endless_model, endless_text):
    encoder, _, _ = demo
    result = run(PROMPT, f"--model_size={endless_model}", QUIET, "-n=400")
    assert result == (0, endless_text(400), CONTEXT_IS_FULL)
    prompt = " word" * 300
    assert len(encoder.encode(prompt)) > 256
    expected = generated_text(prompt, 4)
    assert run(prompt, DEMO, QUIET, "-n=4") == (0, expected, PROMPT_IS_LONG + CONTEXT_IS_FULL)
    assert run(prompt, DEMO, QUIET, "-n=1") == (0, generated_text(prompt, 1), PROMPT_IS_LONG)


def test_text_that_exactly_fills_the_context_has_no_warning(run, demo, endless_model, endless_text):
    encoder, _, _ = demo
    n_prompt = len(encoder.encode(PROMPT))
    n = 256 - n_prompt + 1  # the model never reads the last new token
    assert run(PROMPT, f"--model_size={endless_model}", QUIET, f"-n={n}") == (0, endless_text(n), "")


# Streaming.


@posix
def test_text_streams_through_a_pipe(start, generated_text):
    """The whole text would fit in one buffer. Ctrl-C after the first characters leaves a shorter text."""
    process = start(PROMPT, DEMO, "-n=240", "--repetition_penalty=1.5")
    expected = generated_text(PROMPT, 240, repetition_penalty=1.5)
    first = process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    rest, _ = read_rest(process)
    assert process.returncode == 130
    assert (first + rest).endswith("\n")
    assert expected.startswith((first + rest)[:-1])
    assert len(first + rest) < len(expected)


def test_characters_of_several_tokens_are_not_broken(run):
    """At this temperature the text is noise: tokens of single bytes in any order."""
    arguments = [PROMPT, DEMO, QUIET, "--temperature=50", "--seed=1", "-n=60"]
    status, stdout, _ = run(*arguments)
    assert (status, stdout) == (0, run(*arguments, "--stream=False")[1])
    assert not stdout.isascii()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_outside_the_encoding_become_question_marks(start, run, encoding):
    arguments = [PROMPT, DEMO, QUIET, "--temperature=50", "--seed=1", "-n=60"]
    text = run(*arguments)[1]
    process = start(*arguments, PYTHONIOENCODING=encoding)
    process.stdout.reconfigure(encoding=encoding)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == text.encode(encoding, "replace").decode(encoding)
    assert "?" in stdout


# Ctrl-C.


@posix
@pytest.mark.parametrize("arguments", [[], ["--stream=False"]])
def test_ctrl_c_keeps_the_text_so_far(start, endless_model, endless_text, arguments):
    process = start(PROMPT, f"--model_size={endless_model}", "-n=100000", *arguments)
    if arguments:
        time.sleep(2)
    else:
        process.stdout.read(1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = read_rest(process)
    assert (process.returncode, stderr.replace(CONTEXT_IS_FULL, "")) == (130, "")
    assert stdout.endswith("\n")
    assert len(stdout) > 20
    assert stdout[1:20] in endless_text(40)


@posix
@pytest.mark.parametrize("n", range(2))
def test_ctrl_c_prints_nothing_twice(terminal, endless_model, endless_text, n):
    """In a terminal, Ctrl-C can interrupt a write."""
    process, keyboard = terminal(PROMPT, "-n=240", QUIET, model=endless_model)
    first = read_terminal(keyboard, "and|[A-Z]")
    time.sleep(0.05 * n)
    process.send_signal(signal.SIGINT)
    text = first + read_terminal(keyboard)
    assert process.wait(timeout=60) == 130
    assert endless_text(240).startswith(text.removesuffix("\n"))


@posix
@pytest.mark.filterwarnings("ignore:the context of 256 tokens is full")
def test_ctrl_c_prints_the_beginning_of_a_stop_string(start, endless_model, endless_text):
    expected = endless_text(2000)
    process = start(PROMPT, f"--model_size={endless_model}", "-n=2000", f"--stop={expected[20:]}!")
    first = process.stdout.read(20)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    text = first + read_rest(process)[0]
    assert process.returncode == 130
    assert expected.startswith(text.removesuffix("\n"))
    assert len(text) > 30
