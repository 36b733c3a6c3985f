"""Arguments reach `main` unchanged, and invalid arguments become an error of one line."""

import sys
import warnings

import pytest
from support.command_line import DEMO, PROMPT, QUIET, assert_error

from cli import exit_status

# Prompts that a parser could take for a number, a flag, or Python.
UNUSUAL_PROMPTS = [
    "42",
    "-5",
    "1,2",
    "1e3",
    "0x10",
    "True",
    "None",
    "[1]",
    "{'a': 1}",
    "(",
    "'quoted'",
    '"',
    "--dash",
    "--no",
    "-x",
    "---",
    "# no comment",
    "a=b",
    "back\\slash \\n",
    "two\nlines",
    " ",
    "\t",
    "naïve café 你好 🙂",
    "$HOME %PATH% `x`",
    "<|endoftext|>",
    "separator",
]


@pytest.fixture
def parse(monkeypatch):
    """parse(*arguments): run a `main` with a flag of each type in this process, and return its arguments."""

    def parse(*arguments):
        calls = []

        def main(
            prompt: str = None,
            n_tokens_to_generate: int = 40,
            quiet: bool = False,
            top_p: float = 1.0,
            stop: list = (),
            prompt_file: str = None,
        ):
            calls.append((prompt, n_tokens_to_generate, quiet, top_p, stop, prompt_file))

        monkeypatch.setattr(sys, "argv", ["gpt2.py", *arguments])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # run() replaces it
        exit_status.run(main)
        (call,) = calls
        return call

    return parse


# Valid arguments.


@pytest.mark.parametrize("prompt", UNUSUAL_PROMPTS)
def test_prompt_is_unchanged(parse, prompt):
    assert parse(prompt, QUIET, "-n=4") == (prompt, 4, True, 1.0, (), None)


@pytest.mark.parametrize("prompt", ["--help", "-h", "--model_size=x", "--", "--prompt", "-"])
def test_any_word_after_two_dashes_is_the_prompt(parse, prompt):
    assert parse("--", prompt) == (prompt, 40, False, 1.0, (), None)


def test_text_of_a_flag_is_unchanged(parse):
    flags = [word for text in UNUSUAL_PROMPTS for word in ("--stop", text, f"--stop={text}")]
    stop = [text for text in UNUSUAL_PROMPTS for _ in range(2)]
    assert parse("x", "--top_p=5e-1", *flags) == ("x", 40, False, 0.5, stop, None)


def test_dash_is_standard_input(parse):
    assert parse("-") == parse("--prompt_file=-") == (None, 40, False, 1.0, (), "-")


def test_unusual_prompts_reach_the_model(run, generated_text):
    for prompt in ("42", "[1]", "--dash", "two\nlines", "naïve café 你好 🙂"):
        assert run(prompt, DEMO, QUIET, "-n=4") == (0, generated_text(prompt, 4), "")


@pytest.mark.parametrize(
    "arguments",
    [
        [PROMPT, "--n_tokens_to_generate=4"],
        ["--n_tokens_to_generate=4", PROMPT],
        ["--n_tokens_to_generate", "4", PROMPT],
        ["--n-tokens-to-generate=4", PROMPT],
        ["-n=4", PROMPT],
        [PROMPT, "-n", "4"],
        [f"--prompt={PROMPT}", "-n", "4"],
        ["--prompt", PROMPT, "-n", "4"],
    ],
)
def test_flags_have_several_spellings(parse, arguments):
    assert parse(*arguments) == (PROMPT, 4, False, 1.0, (), None)


@pytest.mark.parametrize("quiet", ["--quiet", "--quiet=True", "--quiet=true", "-q"])
def test_bool_flag_leaves_the_next_word_to_the_prompt(parse, quiet):
    assert parse("-n=4", quiet, PROMPT) == (PROMPT, 4, True, 1.0, (), None)


# Invalid arguments.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt"], ["--prompt needs a value"]),
        (["x", "--prompt=y"], ["expected one prompt, but got 2"]),
        (["x", "--modle_size=demo"], ["unknown flag --modle_size; did you mean --model_size?"]),
        (
            ["--modle-size=demo"],
            ["unknown flag --modle-size; did you mean --model_size?", "put --"],
        ),
        (["x", "--nonsense"], ["unknown flag --nonsense", "--help"]),
        (["x", "--no\nflag"], ["unknown flag --no flag"]),
        (["--nonsense", "demo", "x"], ["unknown flag --nonsense", "--help"]),
        (["x", "--model_size=125M"], ["'125M'", "124M, 355M, 774M, 1558M, demo"]),
        (["x", "--model_size="], ["--model_size needs a value"]),
        (["x", "--models_dir="], ["--models_dir needs a value"]),
        (
            ["--max_new_tokens=5"],
            ["flag --max_new_tokens;", "If this is the prompt, put -- before it"],
        ),
        (["--SEED=5"], ["unknown flag --SEED; did you mean --seed?"]),
        (["--temp"], ["unknown flag --temp; did you mean --temperature?"]),
        (["--miror=http://user:s3cret@host"], ["unknown flag --miror; did you mean --mirror?"]),
        (["-x=3"], ["unknown flag -x; --help"]),
        (["--help=3"], ["unknown flag --help; --help"]),
        (["x", "--model_size=no/such/folder"], ["'no/such/folder'"]),
        (["x", "--model_size"], ["--model_size needs a value"]),
        (["x", f"--models_dir={__file__}"], ["models_dir", "test_argument_parser.py is not a folder"]),
        (["x", "--n_tokens_to_generate=0"], ["--n_tokens_to_generate", "at least 1", "'0'"]),
        (["x", "--n_tokens_to_generate=-1"], ["'-1'"]),
        (["x", "--n_tokens_to_generate=1.5"], ["'1.5'"]),
        (["x", "--n_tokens_to_generate=many"], ["'many'"]),
        (["x", "--n_tokens_to_generate="], ["needs a value"]),
        (["x", "--n_tokens_to_generate=1_0"], ["'1_0'"]),
        (["x", "--n_tokens_to_generate=٣"], ["'٣'"]),
        (["x", "--n_tokens_to_generate= 5"], ["' 5'"]),
        (["x", "--n_tokens_to_generate=" + "9" * 400], ["a whole number"]),
    ],
)
def test_invalid_arguments_are_rejected(run_here, arguments, words):
    assert_error(run_here(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["prompt", "empty"]),
        ([""], ["prompt", "empty"]),
        (["--prompt="], ["prompt", "empty"]),
        (["Once", "upon"], ["expected one prompt, but got 2", "quotes"]),
        (["x", "--temperature=-1"], ["temperature must be 0 (greedy) or more, not -1.0"]),
    ],
)
def test_invalid_arguments_are_rejected_by_a_process(run, arguments, words):
    assert_error(run(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["prompt", "empty"]),
        ([""], ["prompt", "empty"]),
        (["x", "--modle_size=demo"], ["unknown flag --modle_size; did you mean --model_size?"]),
        (["x", "--model_size=125M"], ["'125M'"]),
        (["x", "--n_tokens_to_generate=0"], ["--n_tokens_to_generate", "at least 1", "'0'"]),
        (["x", "--n_tokens_to_generate=256", DEMO], ["256"]),
        (["x", "--n_tokens_to_generate=99999999999999999999", DEMO], ["256"]),
        (["x" * 3000, DEMO], ["256"]),
    ],
)
def test_pico_rejects_invalid_arguments(run, arguments, words):
    assert_error(run(*arguments, script="gpt2_pico.py"), 2, *words)
