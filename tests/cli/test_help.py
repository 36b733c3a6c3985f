"""--help of the scripts in the root: the full description of every flag."""

import inspect
import shlex

import pytest
from support.script_help import described_flags, help_of_flags, scripts_in

from cli import flags
from cli.argument_parser import parse_arguments
from cli.help_text import help_text


@pytest.mark.parametrize("script", scripts_in("."))
def test_help_describes_every_flag(run, script):
    status, stdout, stderr = run("--help", script=script)
    assert (status, stderr) == (0, "")
    assert stdout.startswith(f"Usage: {script} ")
    assert help_of_flags(stdout) == described_flags(script)


def test_three_scripts_in_the_root_have_flags():
    assert scripts_in(".") == ["gpt2.py", "gpt2_pico.py", "utils.py"]


def test_a_colon_in_a_description_starts_no_flag():
    def main(prompt: str, size: int = 3, fast: bool = False, slow: bool = True, names: list = ()):
        """Do it.

        Args:
            prompt: the text: or
                hf: another: text
            size: a number.
            fast: yes.
            slow: no.
            names: many.
        """

    assert help_text(main, "it.py").splitlines() == [
        "Usage: it.py PROMPT [FLAGS]",
        "",
        "Do it.",
        "",
        "Flags, with their defaults:",
        "  --prompt=PROMPT",
        "        the text: or hf: another: text",
        "  --size=3",
        "        a number.",
        "  --fast",
        "        yes.",
        "  --slow=True",
        "        no.",
        "  --names=NAMES",
        "        many.",
    ]


def test_the_examples_of_the_help_are_valid_commands():
    lines = [line.strip() for line in inspect.getdoc(flags.main).splitlines()]
    examples = [shlex.split(line) for line in lines if line.startswith("python ")]
    assert len(examples) == 2
    for python, script, *arguments in examples:
        assert (python, script) == ("python", "gpt2.py")
        assert "prompt" in parse_arguments(arguments, inspect.signature(flags.main).parameters)
