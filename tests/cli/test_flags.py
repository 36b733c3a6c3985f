"""The flags of `python gpt2.py`: their defaults and valid values."""

import pytest
from support.command_line import DEMO, PROMPT, QUIET, assert_error
from support.paths import ROOT

NO_FILE = "no/such/file"


# Sampling.


def test_sampling_flags_reach_the_sampler(run, demo, generated_text):
    encoder, _, _ = demo
    options = {"temperature": 4.0, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.5}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    seed = [8, 0, *encoder.encode(PROMPT)]
    expected = generated_text(PROMPT, 30, **options, seed=seed)
    assert run(PROMPT, DEMO, QUIET, "-n=30", "--seed=8", *arguments) == (0, expected, "")
    for name in options:
        others = {other: value for other, value in options.items() if other != name}
        assert generated_text(PROMPT, 30, **{"temperature": 1} | others, seed=seed) != expected


@pytest.mark.parametrize("options", [{"seed": 3}, {"seed": 3, "top_k": 5}, {"seed": 3, "top_p": 0.5}])
def test_sampling_flags_set_the_temperature_to_1(run, demo, generated_text, options):
    encoder, _, _ = demo
    arguments = [f"--{name}={value}" for name, value in options.items()]
    seed = [3, 0, *encoder.encode(PROMPT)]
    expected = generated_text(PROMPT, 9, temperature=1, **options | {"seed": seed})
    assert run(PROMPT, DEMO, QUIET, "-n=9", *arguments) == (0, expected, "")
    greedy = generated_text(PROMPT, 9)
    assert run(PROMPT, DEMO, QUIET, "-n=9", *arguments, "--temperature=0") == (0, greedy, "")


def test_runs_without_a_seed_differ(run):
    assert len({run(PROMPT, DEMO, QUIET, "--temperature=1") for _ in range(2)}) == 2


# Invalid values.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--temperature=-1"], ["temperature must be 0 (greedy) or more, not -1.0"]),
        (["--temperature=hot"], ["--temperature takes a number, not 'hot'"]),
        (["--temperature=nan"], ["'nan'"]),
        (["--temperature=inf"], ["'inf'"]),
        (["--top_k=-1"], ["--top_k takes a whole number of at least 0, not '-1'"]),
        (["--top_k=2.5"], ["'2.5'"]),
        (["--top_p=0"], ["top_p must be more than 0"]),
        (["--top_p=1.5"], ["top_p"]),
        (["--min_p=-0.1"], ["min_p"]),
        (["--min_p=2"], ["min_p"]),
        (["--repetition_penalty=0"], ["repetition_penalty"]),
        (["--repetition_penalty=1e-308"], ["repetition_penalty must be from 0.01 to 100"]),
        (["--repetition_penalty"], ["--repetition_penalty needs a value"]),
        (["--seed=-1"], ["--seed takes a whole number of at least 0"]),
        (["--seed=x"], ["--seed"]),
        (["--stop="], ["--stop needs a value"]),
        (["--stop"], ["--stop needs a value"]),
        (["--stream=maybe"], ["--stream takes True or False, not 'maybe'"]),
        (["--quiet=1"], ["--quiet takes True or False"]),
        (["--unconditional"], ["--unconditional starts without a prompt"]),
        (["--unconditional=yes"], ["--unconditional takes True or False"]),
        (["--prompt_file=x"], ["give only one of these"]),
        (["--prompts_file=x"], ["give only one of these"]),
        (["-"], ["give only one of these"]),
        (["--n_samples=0"], ["--n_samples takes a whole number of at least 1"]),
        (["--batch_size=0"], ["batch_size must be 1 or more"]),
        (["--logprobs=-1"], ["--logprobs takes a whole number of at least 0"]),
        (["--score=2"], ["--score takes True or False"]),
        (["--score", "--stride=0", DEMO], ["stride must be from 1 to 256, not 0"]),
        (["--score", "--stride=257", DEMO], ["stride must be from 1 to 256, not 257"]),
        (["--stride=5"], ["--stride needs --score"]),
        (["--score", "--logprobs=1"], ["--score excludes", "--logprobs"]),
        (["--score", "--n_samples=2"], ["--score excludes", "--n_samples"]),
        (["--score", "--stop=a"], ["--score excludes", "--stop"]),
    ],
    ids=" ".join,
)
def test_invalid_values_are_rejected(run_here, arguments, words):
    assert_error(run_here("x", *arguments), 2, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([f"--prompt_file={NO_FILE}"], [f"cannot read {NO_FILE}: No such file"]),
        ([f"--prompts_file={NO_FILE}"], [f"cannot read {NO_FILE}: No such file"]),
        ([f"--prompt_file={ROOT}"], [f"cannot read {ROOT}"]),
        (["--prompt_file=x", "--prompts_file=x"], ["give only one of these"]),
        (["--score", "--unconditional"], ["--score excludes", "--unconditional"]),
        (["--score", "--prompts_file=x"], ["--score excludes", "--prompts_file"]),
        (["--prompt_file="], ["--prompt_file needs a value"]),
        (["--prompts_file="], ["--prompts_file needs a value"]),
        (["--prompt_file=~nosuchuser/x"], ["cannot read ~nosuchuser/x"]),
    ],
)
def test_invalid_prompt_sources_are_rejected(run_here, arguments, words):
    assert_error(run_here(*arguments), 2, *words)
