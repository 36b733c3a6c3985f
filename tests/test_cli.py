"""The command line in real processes: what is written to stdout and stderr, and the exit status."""

import inspect
import os
import re
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest
from conftest import ROOT
from model_server import Fault
from tqdm import tqdm

import cli
import commands
import gpt2
from utils import MODELS_DIR

PROMPT = "Once upon a time"
DEMO = "--model_size=demo"
QUIET = "--quiet"
STATISTICS = {"gpt2.py": r"40 tokens, \d+\.\d\d s, \d+\.\d tokens/s\n", "gpt2_pico.py": ""}
posix = pytest.mark.skipif(os.name != "posix", reason="signals and devices of POSIX")


@pytest.fixture(scope="session")
def expected(demo):
    """expected(prompt, n): the text that the demo model goes on with, computed in this process."""
    encoder, hparams, params = demo

    def expected(prompt, n_tokens_to_generate=40):
        ids = gpt2.generate(encoder.encode(prompt), params, hparams["n_head"], n_tokens_to_generate)
        return encoder.decode(list(ids)) + "\n"

    return expected


def is_one_line(stderr):
    return stderr.endswith("\n") and stderr.count("\n") == 1 and "Traceback" not in stderr


# What goes well.


@pytest.mark.parametrize("script", ["gpt2.py", "gpt2_pico.py"])
def test_the_text_and_nothing_else_goes_to_stdout(run, expected, script):
    status, stdout, stderr = run(PROMPT, DEMO, script=script)
    assert (status, stdout) == (0, expected(PROMPT))
    assert re.fullmatch(STATISTICS[script], stderr)


@pytest.mark.parametrize("script", ["gpt2.py", "gpt2_pico.py"])
def test_without_network_the_demo_answers_with_one_notice(run, expected, tmp_path, script):
    status, stdout, stderr = run(PROMPT, f"--models_dir={tmp_path}", script=script)
    assert status == 0
    assert stdout == expected(PROMPT)
    assert re.fullmatch(
        r".* run again with --model_size=124M\. Using the tiny demo model .*\n" + STATISTICS[script], stderr
    )
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_says_nothing_is_given_up(run, expected, tmp_path, silent_listener):
    proxy = f"http://127.0.0.1:{silent_listener.getsockname()[1]}"
    status, stdout, stderr = run(PROMPT, QUIET, f"--models_dir={tmp_path}", proxy=proxy)
    assert (status, stdout) == (0, expected(PROMPT))
    assert is_one_line(stderr)
    assert "does not answer" in stderr


ODD_PROMPTS = [
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
def given(monkeypatch):
    """given(*arguments): what they make of a main with a flag of each kind, in this process."""

    def given(*arguments):
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
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # run() changes it
        cli.run(main)
        (call,) = calls
        return call

    return given


@pytest.mark.parametrize("prompt", ODD_PROMPTS)
def test_the_prompt_arrives_as_it_was_typed(given, prompt):
    assert given(prompt, QUIET, "-n=4") == (prompt, 4, True, 1.0, (), None)


@pytest.mark.parametrize("prompt", ["--help", "-h", "--model_size=x", "--", "--prompt", "-"])
def test_after_two_dashes_anything_is_the_prompt(given, prompt):
    assert given("--", prompt) == (prompt, 40, False, 1.0, (), None)


def test_the_text_of_a_flag_arrives_as_it_was_typed(given):
    flags = [word for text in ODD_PROMPTS for word in ("--stop", text, f"--stop={text}")]
    stop = [text for text in ODD_PROMPTS for _ in range(2)]
    assert given("x", "--top_p=5e-1", *flags) == ("x", 40, False, 0.5, stop, None)


def test_a_dash_is_the_pipe(given):
    assert given("-") == given("--prompt_file=-") == (None, 40, False, 1.0, (), "-")


def test_odd_prompts_arrive_at_the_model(run, expected):
    for prompt in ("42", "[1]", "--dash", "two\nlines", "naïve café 你好 🙂"):
        assert run(prompt, DEMO, QUIET, "-n=4") == (0, expected(prompt, 4), "")


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
def test_flags_may_be_written_in_each_of_the_usual_ways(given, arguments):
    assert given(*arguments) == (PROMPT, 4, False, 1.0, (), None)


@pytest.mark.parametrize("quiet", ["--quiet", "--quiet=True", "--quiet=true", "-q"])
def test_a_flag_that_is_true_or_false_needs_no_value(given, quiet):
    """And takes none from the word after it, which may be the prompt."""
    assert given("-n=4", quiet, PROMPT) == (PROMPT, 4, True, 1.0, (), None)


def test_a_model_of_one_s_own_folder(run, expected):
    assert run(PROMPT, QUIET, f"--model_size={MODELS_DIR / 'demo'}") == (0, expected(PROMPT), "")


def test_help_names_every_flag(run):
    status, stdout, stderr = run("--help")
    assert status == 0
    for flag in inspect.signature(commands.main).parameters:
        assert f"--{flag}=" in stdout + stderr
    assert "FIRE" not in stdout + stderr
    assert "INFO" not in stdout + stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_characters_that_stdout_does_not_have_do_no_harm(start, encoding):
    code = "from cli import run; run(lambda prompt: print(prompt))"
    process = start("café 你好", code=code, PYTHONIOENCODING=encoding)
    process.stdout.reconfigure(encoding=encoding)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout == "café 你好".encode(encoding, "replace").decode(encoding) + "\n"


@posix
def test_a_platform_whose_own_encoding_is_ascii(run, expected):
    variables = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    assert run(PROMPT, DEMO, QUIET, **variables) == (0, expected(PROMPT), "")


# What goes wrong.


def fails(result, status, *words):
    got, stdout, stderr = result
    assert got == status
    assert stdout == ""
    assert is_one_line(stderr)
    assert stderr.startswith("gpt2")
    for word in words:
        assert word in stderr


@pytest.mark.parametrize("script", ["gpt2.py", "gpt2_pico.py"])
@pytest.mark.parametrize("size", ["124M", "355M", "774M", "1558M"])
def test_without_network_a_size_that_was_asked_for_is_an_error(run, tmp_path, script, size):
    result = run(f"--model_size={size}", "x", f"--models_dir={tmp_path}", script=script)
    fails(result, 1, size, "cannot be downloaded", "openaipublic.blob.core.windows.net", "run again")
    assert list(tmp_path.iterdir()) == []


def test_without_network_no_folder_is_left_beside_the_code(run):
    before = sorted(MODELS_DIR.iterdir())
    if MODELS_DIR / "1558M" in before:
        pytest.skip("1558M is here: there is nothing to download")
    fails(run("--model_size=1558M", "x"), 1, "1558M")
    assert sorted(MODELS_DIR.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt"], ["--prompt needs a value"]),
        (["x", "--prompt=y"], ["2 prompts"]),
        (["x", "--modle_size=demo"], ["no flag --modle_size=demo, but --model_size"]),
        (["--modle-size=demo"], ["no flag --modle-size=demo, but --model_size", "--"]),
        (["x", "--nonsense"], ["no flag --nonsense", "--help"]),
        (["x", "--no\nflag"], ["no flag --no flag"]),
        (["--nonsense", "demo", "x"], ["no flag --nonsense", "--help"]),
        (["x", "--model_size=125M"], ["no model '125M'", "124M, 355M, 774M, 1558M, demo"]),
        (["x", "--model_size="], ["--model_size needs a value"]),
        (["x", "--models_dir="], ["--models_dir needs a value"]),
        (["--max_new_tokens=5"], ["no flag --max_new_tokens=5", "goes after --"]),
        (["--SEED=5"], ["no flag --SEED=5, but --seed"]),
        (["--temp"], ["no flag --temp, but --temperature"]),
        (["-x=3"], ["no flag -x=3"]),
        (["--help=3"], ["no flag --help=3"]),
        (["x", "--model_size=no/such/folder"], ["no model 'no/such/folder'"]),
        (["x", "--model_size"], ["--model_size needs a value"]),
        (["x", f"--models_dir={__file__}"], ["models_dir", "test_cli.py is not a folder"]),
        (["x", "--n_tokens_to_generate=0"], ["--n_tokens_to_generate", "from 1 up", "'0'"]),
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
def test_a_bad_argument_is_said_in_one_line(run_here, arguments, words):
    fails(run_here(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["prompt", "empty"]),
        ([""], ["prompt", "empty"]),
        (["--prompt="], ["prompt", "empty"]),
        (["Once", "upon"], ["2 prompts", "quotes"]),
        (["x", "--temperature=-1"], ["temperature must be 0 (greedy) or more, not -1.0"]),
    ],
)
def test_a_bad_argument_is_said_in_one_line_by_a_process(run, arguments, words):
    fails(run(*arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["prompt", "empty"]),
        ([""], ["prompt", "empty"]),
        (["x", "--modle_size=demo"], ["no flag --modle_size=demo, but --model_size"]),
        (["x", "--model_size=125M"], ["no model '125M'"]),
        (["x", "--n_tokens_to_generate=0"], ["--n_tokens_to_generate", "from 1 up", "'0'"]),
        (["x", "--n_tokens_to_generate=256", DEMO], ["256"]),
        (["x", "--n_tokens_to_generate=99999999999999999999", DEMO], ["256"]),
        (["x" * 3000, DEMO], ["256"]),
    ],
)
def test_a_bad_argument_of_pico_is_said_in_one_line(run, arguments, words):
    fails(run(*arguments, script="gpt2_pico.py"), 2, *words)


NO_FILE = "no/such/file"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temperature=-1"], ["temperature must be 0 (greedy) or more, not -1.0"]),
        (["--temperature=hot"], ["--temperature takes a number, not 'hot'"]),
        (["--temperature=nan"], ["'nan'"]),
        (["--temperature=inf"], ["'inf'"]),
        (["--top_k=-1"], ["--top_k takes a whole number from 0 up, not '-1'"]),
        (["--top_k=2.5"], ["'2.5'"]),
        (["--top_p=0"], ["top_p must be more than 0"]),
        (["--top_p=1.5"], ["top_p"]),
        (["--min_p=-0.1"], ["min_p"]),
        (["--min_p=2"], ["min_p"]),
        (["--repetition_penalty=0"], ["repetition_penalty"]),
        (["--repetition_penalty=1e-308"], ["repetition_penalty must be from 0.01 to 100"]),
        (["--repetition_penalty"], ["--repetition_penalty needs a value"]),
        (["--seed=-1"], ["--seed takes a whole number from 0 up"]),
        (["--seed=x"], ["--seed"]),
        (["--stop="], ["--stop needs a value"]),
        (["--stop"], ["--stop needs a value"]),
        (["--stream=maybe"], ["--stream takes True or False, not 'maybe'"]),
        (["--quiet=1"], ["--quiet takes True or False"]),
        (["--unconditional"], ["unconditional", "give none with it"]),
        (["--unconditional=yes"], ["--unconditional takes True or False"]),
        (["--prompt_file=x"], ["give one of these only"]),
        (["--prompts_file=x"], ["give one of these only"]),
        (["-"], ["give one of these only"]),
        (["--n_samples=0"], ["--n_samples takes a whole number from 1 up"]),
        (["--batch_size=0"], ["batch_size must be 1 or more"]),
        (["--logprobs=-1"], ["--logprobs takes a whole number from 0 up"]),
        (["--score=2"], ["--score takes True or False"]),
        (["--score", "--stride=0", DEMO], ["stride must be from 1 to 256, not 0"]),
        (["--score", "--stride=257", DEMO], ["stride must be from 1 to 256, not 257"]),
        (["--stride=5"], ["stride is for score"]),
        (["--score", "--logprobs=1"], ["score", "logprobs"]),
        (["--score", "--n_samples=2"], ["score", "n_samples"]),
        (["--score", "--stop=a"], ["score", "stop"]),
    ],
    ids=" ".join,
)
def test_a_bad_value_of_each_flag_is_said_in_one_line(run_here, arguments, words):
    fails(run_here("x", *arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([f"--prompt_file={NO_FILE}"], [NO_FILE, "cannot be read: No such file"]),
        ([f"--prompts_file={NO_FILE}"], [NO_FILE, "cannot be read: No such file"]),
        ([f"--prompt_file={ROOT}"], [str(ROOT), "cannot be read"]),
        (["--prompt_file=x", "--prompts_file=x"], ["give one of these only"]),
        (["--score", "--unconditional"], ["score takes none of", "unconditional"]),
        (["--score", "--prompts_file=x"], ["score takes none of", "prompts_file"]),
        (["--prompt_file="], ["--prompt_file needs a value"]),
        (["--prompts_file="], ["--prompts_file needs a value"]),
        (["--prompt_file=~nosuchuser/x"], ["~nosuchuser/x cannot be read"]),
    ],
)
def test_a_bad_source_of_prompts_is_said_in_one_line(run_here, arguments, words):
    fails(run_here(*arguments), 2, *words)


def test_certificates_that_are_not_there(run, tmp_path):
    result = run("x", "--model_size=124M", f"--models_dir={tmp_path}", REQUESTS_CA_BUNDLE="/no/such/file")
    fails(result, 1, "124M", "/no/such/file")


@pytest.mark.parametrize("proxy", ["http://x..y:1", "nonsense", "http://127.0.0.1:99999", "socks9://x"])
def test_a_proxy_that_is_no_address(run, tmp_path, proxy):
    result = run("x", "--model_size=124M", f"--models_dir={tmp_path}", proxy=proxy)
    fails(result, 1, "124M", "the connection to openaipublic.blob.core.windows.net failed")


@posix
def test_a_prompt_that_is_no_text(run):
    fails(run(os.fsdecode(b"caf\xe9"), DEMO), 2, "lone surrogate")


def test_a_folder_without_a_model(run, tmp_path):
    fails(run("x", f"--model_size={tmp_path}"), 1, str(tmp_path), "lacks config.json")


def test_a_damaged_model(run, tmp_path):
    for path in (MODELS_DIR / "demo").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
    fails(run("x", f"--model_size={tmp_path}"), 1, "encoder.json")
    (tmp_path / "encoder.json").write_bytes((MODELS_DIR / "demo" / "encoder.json").read_bytes())
    (tmp_path / "vocab.bpe").write_bytes((MODELS_DIR / "demo" / "vocab.bpe").read_bytes())
    fails(run("x", f"--model_size={tmp_path}"), 1, "model.ckpt.index")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_without_room_for_the_text(start):
    with open("/dev/full", "w") as full:
        process = start(PROMPT, DEMO, streams={"stdout": full})
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert is_one_line(stderr)
    assert "No space left" in stderr


@posix
def test_a_reader_that_has_gone_away(start):
    process = start(PROMPT, DEMO)
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert is_one_line(process.stderr.read())


@posix
@pytest.mark.parametrize(("closed", "status"), [(1, 0), (2, 2)])
def test_a_stdout_or_stderr_that_is_closed(run, closed, status):
    """As `>&-` or `2>&-` in a shell: nothing is said there, and nothing on the other one in its stead."""
    size = "demo" if status == 0 else "125M"
    code = f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    arguments = (str(ROOT / "gpt2.py"), PROMPT, QUIET, f"--model_size={size}")
    assert run(*arguments, code=code) == (status, "", "")


@posix
def test_ctrl_c_while_it_waits_for_the_network(start, tmp_path, silent_listener):
    proxy = f"http://127.0.0.1:{silent_listener.getsockname()[1]}"
    process = start(PROMPT, f"--models_dir={tmp_path}", proxy=proxy)
    connection, _ = silent_listener.accept()  # now it waits
    with connection:
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


@posix
def test_ctrl_c_in_a_download(start, tmp_path, server):
    server.faults["vocab.bpe"] = [Fault("stall", at=1000)]
    process = start(PROMPT, f"--models_dir={tmp_path}", GPT2_MIRROR=server.url, NO_PROXY="127.0.0.1")
    while "vocab.bpe" not in server.fetched:
        time.sleep(0.1)
    time.sleep(0.5)  # an old tqdm, interrupted while it draws its first bar, complains
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert "Traceback" not in stderr
    files = sorted(path.name for path in (tmp_path / "124M").iterdir() if path.suffix != ".part")
    assert files == ["encoder.json", "hparams.json"]


@pytest.mark.parametrize(("first", "error"), [(KeyboardInterrupt, SystemExit), (ValueError, RuntimeError)])
def test_ctrl_c_while_a_bar_takes_its_lock(monkeypatch, capsys, first, error):
    """tqdm then gives back what it does not have. That counts as a Ctrl-C after one only."""

    def main(prompt: str = None):
        try:
            raise first
        finally:
            tqdm.get_lock().release()  # RuntimeError

    monkeypatch.setattr(sys, "argv", ["gpt2.py"])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # run() changes it
    with pytest.raises(error) as raised:
        cli.run(main)
    assert error is RuntimeError or raised.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_a_message_cannot_command_the_terminal():
    """Names in a stranger's files may have anything in them, and be long."""
    assert cli.as_one_line("a\x1b[31m\r\n\x07\x00é") == "a [31m    é"
    assert len(cli.as_one_line("a" * 10**6)) < 3000
