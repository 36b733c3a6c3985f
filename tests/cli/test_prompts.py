"""Prompts from arguments, files and pipes."""

import json
import re

import pytest
from support.command_line import DEMO, PROMPT, PROMPTS, QUIET, assert_error, json_lines
from support.paths import posix


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
def test_prompt_from_a_pipe(run, generated_text, arguments, piped):
    assert run(DEMO, QUIET, "-n=4", *arguments, piped=piped) == (0, generated_text(PROMPT, 4), "")


def test_prompt_from_a_file(run, generated_text, tmp_path):
    (tmp_path / "prompt.txt").write_text("  Two\nlines, ünd é 🙂\n\n", encoding="utf-8", newline="")
    expected = generated_text("  Two\nlines, ünd é 🙂\n", 4)
    assert run(DEMO, QUIET, "-n=4", "--prompt_file=prompt.txt") == (0, expected, "")


def test_argument_takes_precedence_over_a_pipe(run, generated_text):
    assert run(DEMO, QUIET, "-n=4", PROMPT, piped="The king") == (0, generated_text(PROMPT, 4), "")


@pytest.mark.parametrize("arguments", [[], [""]])
def test_unconditional_starts_without_a_prompt(run, generated_text, arguments):
    assert run(DEMO, QUIET, "-n=9", "--unconditional", *arguments) == (0, generated_text("", 9), "")


@pytest.mark.parametrize("piped", ["", "\n"])
def test_empty_pipe_is_rejected(run, piped):
    status, stdout, stderr = run(DEMO, piped=piped)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"gpt2\.py: the prompt is empty: .* --unconditional .*\n", stderr)


def test_pipe_that_is_not_utf_8_is_rejected(run):
    status, stdout, stderr = run(DEMO, piped="caf\udce9")
    assert (status, stdout) == (2, "")
    assert stderr == "gpt2.py: - is not UTF-8: the byte at offset 3 is invalid\n"


@posix
def test_argument_that_is_not_utf_8_is_rejected(run):
    assert_error(run("caf\udce9", DEMO), 2, "lone surrogate")


@pytest.mark.parametrize("source", ["file", "pipe"])
def test_prompts_from_json_lines(run, source, tmp_path):
    prompts = [*PROMPTS, "two\nlines"]
    lines = "".join(json.dumps({"id": 1, "prompt": prompt}) + "\n" for prompt in prompts)
    (tmp_path / "prompts").write_text(lines, encoding="utf-8")
    if source == "file":
        status, stdout, _ = run("--prompts_file=prompts", DEMO, QUIET, "-n=1")
    else:
        status, stdout, _ = run("--prompts_file=-", DEMO, QUIET, "-n=1", piped=lines)
    assert status == 0
    assert [result["prompt"] for result in json_lines(stdout)] == prompts


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "line 1: the prompt is empty"),
        ("one\n\nthree\n", "line 2: the prompt is empty"),
        ("\none\n", "line 1: the prompt is empty"),
        ('{"prompt": "one"}\ntwo\n', 'line 2: expected a JSON object with a text as "prompt"'),
        ('{"prompt": "one"}\n{"text": "two"}\n', "line 2: expected"),
        ('{"prompt": "one"}\n{"prompt": 2}\n', "line 2: expected"),
        ('{"prompt": "one"}\n["prompt"]\n', "line 2: expected"),
        ('{"prompt": ""}\n', "line 1: the prompt is empty"),
        ('{"prompt": "\\ud800"}\n', "line 1: expected"),
        ('{"prompt": ' + "[" * 100_000, "line 1: expected"),
        ("caf\udce9\n", "is not UTF-8: the byte at offset 3 is invalid"),
    ],
)
def test_invalid_line_is_rejected_before_any_output(run_here, tmp_path, content, error):
    (tmp_path / "prompts").write_bytes(content.encode("utf-8", "surrogateescape"))
    status, stdout, stderr = run_here(f"--prompts_file={tmp_path / 'prompts'}", DEMO)
    assert (status, stdout) == (2, "")
    assert stderr.startswith(f"gpt2.py: {tmp_path / 'prompts'}")
    assert error in stderr
    assert stderr.count("\n") == 1
