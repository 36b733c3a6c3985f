"""Prompts from arguments, files and pipes."""

import gzip
import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import DEMO, PROMPT, PROMPTS, QUIET, assert_error, json_lines
from support.hub_models import edit_json
from support.paths import posix

from cli.prompts import read_prompts_file, split_texts


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


def test_prompt_in_utf_16(run, generated_text, tmp_path):
    """As PowerShell writes it."""
    (tmp_path / "prompt.txt").write_text("The king\r\n", encoding="utf-16", newline="")
    assert run(DEMO, QUIET, "-n=4", "--prompt_file=prompt.txt") == (0, generated_text("The king", 4), "")


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
    ("content", "expected"),
    [
        ("\n  \none\n\t\n two \n\n", ["one", " two "]),
        ("one\r\n\r\ntwo\r\n", ["one", "two"]),
        ("one\r\rtwo\r", ["one", "two"]),
        ("one\u2028 two\x0b\x0c\x85three", ["one\u2028 two\x0b\x0c\x85three"]),
        ('{curly}\n{"a": 1}\n', ["{curly}", '{"a": 1}']),
        ('["a"] is a list\n[1] two\n', ['["a"] is a list', "[1] two"]),
        ("[ 1 ] one\n{ two\n{\n", ["[ 1 ] one", "{ two", "{"]),
        ('"one"\n12\nnull\n', ['"one"', "12", "null"]),
        ('\n{"prompt": "one"}\n\n{"prompt": " two\\n"}\r\n', ["one", " two\n"]),
        ('\ufeff{"id": {}, "prompt": "one"}', ["one"]),
        ('["one", {"prompt": "two", "id": 2}]', ["one", "two"]),
        ('\ufeff\n[\n  {"prompt": "one"},\n  {"prompt": "two"}\n]\n', ["one", "two"]),
    ],
)
def test_prompts_file_is_text_json_lines_or_a_json_array(tmp_path, content, expected):
    path = tmp_path / "prompts"
    for compress in (bytes, gzip.compress):
        path.write_bytes(compress(content.encode("utf-8")))
        assert read_prompts_file(path) == expected


@given(st.lists(st.text(min_size=1), min_size=1), st.sampled_from([None, 1]), st.booleans())
def test_any_text_can_be_a_prompt_in_json(texts, indent, is_ascii):
    prompts = [text for text in texts if text.encode("utf-8", "ignore").decode() == text] or ["a"]
    options = {"indent": indent, "ensure_ascii": is_ascii}
    mixed = [{"prompt": text} if number % 2 else text for number, text in enumerate(prompts)]
    assert list(split_texts(json.dumps(mixed, **options), "").values()) == prompts
    lines = "\n".join(json.dumps({"prompt": text}, ensure_ascii=is_ascii) for text in prompts)
    assert list(split_texts(lines, "").values()) == prompts


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "has no prompts"),
        (" \n\n\t\n", "has no prompts"),
        ("[]", "has no prompts"),
        ('{"prompt": "one"}\n\ntwo\n', 'line 3: expected a JSON object with a text as "prompt"'),
        ('{"prompt": "one"\n{"prompt": "two"}\n', "line 1: expected"),
        ('{"prompt": "one"}\n{"text": "two"}\n', "line 2: expected"),
        ('{"prompt": "one"}\n{"prompt": 2}\n', "line 2: expected"),
        ('{"prompt": "one"}\n["prompt"]\n', "line 2: expected"),
        ('{"prompt": "one"}\n"two"\n', "line 2: expected"),
        ('{"text": "one"}\n{"text": "two"}\n', "line 1: expected"),
        ('{"prompt": ""}\n', "line 1: the prompt is empty"),
        ('{"prompt": "\\ud800"}\n', "line 1: expected"),
        ('{"prompt": "one"}\n{"prompt": ' + "[" * 100_000, "line 2: expected"),
        ('["one", 2]', "item 2: expected"),
        ('["one", "\\ud800"]', "item 2: expected"),
        ('["one", {"text": "two"}]', "item 2: expected"),
        ('["one", ""]', "item 2: the prompt is empty"),
        ('[\n"one",\n"two",\n]\n', "expected a complete JSON array"),
        ('{\n"prompt": "one"\n}\n', "expected a complete JSON array"),
        ("caf\udce9\n", "is not UTF-8: the byte at offset 3 is invalid"),
        ("\x1f\udc8b\x08", "is a damaged gzip file"),
    ],
)
def test_invalid_prompts_are_rejected_before_any_output(run_here, tmp_path, content, error):
    (tmp_path / "prompts").write_bytes(content.encode("utf-8", "surrogateescape"))
    status, stdout, stderr = run_here(f"--prompts_file={tmp_path / 'prompts'}", DEMO)
    assert (status, stdout) == (2, "")
    assert stderr.startswith(f"gpt2.py: {tmp_path / 'prompts'}")
    assert error in stderr
    assert stderr.count("\n") == 1


def test_damaged_gzip_files_are_rejected(tmp_path):
    """Every truncated file and every changed byte of the data gives an error, or the same text."""
    path = tmp_path / "prompts.gz"
    content = gzip.compress(b"Once upon a time\nThe king\n" * 3)
    damaged = [content[:end] for end in range(2, len(content))]
    damaged += [content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :] for n in range(2, len(content))]
    for changed in damaged:
        path.write_bytes(changed)
        try:
            assert read_prompts_file(path) == ["Once upon a time", "The king"] * 3
        except ValueError as error:
            assert str(path) in str(error)


# Special tokens.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model_size=demo"], False),
        (["--model_size=demo", "--special_tokens"], True),
        (["--model_size=float16"], True),
        (["--model_size=float16", "--special_tokens=False"], False),
        (["--model_size=124M", "--models_dir=."], False),
        (["--model_size=./124M"], False),
        (["--model_size=124M", "--models_dir=.", "--special_tokens"], True),
    ],
)
def test_special_tokens_are_tokens_by_default_except_in_the_models_of_openai(
    run, hub_copy, arguments, expected
):
    shutil.copytree(hub_copy("float16"), hub_copy("float32").with_name("124M"))
    text = "the<|endoftext|>"
    status, stdout, stderr = run(text, "--score", QUIET, *arguments)
    assert (status, stderr) == (0, "")
    assert ('"<|endoftext|>"' in stdout) == expected


def test_a_model_without_a_begin_token_needs_a_prompt(run, hub_copy):
    folder = hub_copy("float32")
    (folder / "generation_config.json").unlink()
    edit_json(folder / "config.json", bos_token_id=None, eos_token_id=None)
    status, _, stderr = run("the", f"--model_size={folder}", "-n=30", QUIET)
    assert (status, stderr) == (0, "")
    assert_error(run("--unconditional", f"--model_size={folder}"), 2, "no token that begins a text")
    assert_error(run("--score", "t", f"--model_size={folder}"), 2, "there is no token to score")
