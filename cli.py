"""The command line: what was typed becomes a call, by fire; what goes wrong, one line and an exit status."""

import inspect
import os
import sys

import fire

from checkpoint import CheckpointError


def run(main):
    """Call main(prompt, ...) with what was typed, and exit as a command does.

    The exit status is 0 if all went well, 2 for a bad argument (ValueError), 1 for what the world did
    (OSError, MemoryError, and CheckpointError, which is a damaged file), and 130 after Ctrl-C.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # Python has None for a closed one
    sys.stderr = sys.stderr or open(os.devnull, "w")
    sys.stdout.reconfigure(errors="replace")  # not every terminal can show every character
    program = os.path.basename(sys.argv[0])
    try:
        flags = {name: parameter.default for name, parameter in inspect.signature(main).parameters.items()}
        fire.Fire(main, command=arguments_for_fire(sys.argv[1:], flags), name=program)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, MemoryError) as error:
        print(f"{program}: {error or 'out of memory'}".replace("\n", " "), file=sys.stderr)
        sys.stdout = None  # one that cannot be written to would fail again when Python closes it
        is_bad_argument = isinstance(error, ValueError) and not isinstance(error, CheckpointError)
        sys.exit(2 if is_bad_argument else 1)


def arguments_for_fire(typed, flags):
    """Rewrite a command line so that fire passes each text on as it was typed.

    Left to itself fire reads 42 as a number, [1] as a list, --dash as a flag and - as a separator. So all
    values become Python literals, which fire reads back to what they were; and a word that is not a flag
    becomes the prompt, as does whatever follows a --.

    Args:
        typed: the words of the command line.
        flags: {name: default value}. Where the default is a number, so is the value; all others are text.

    Raises:
        ValueError: there is not exactly one prompt, or a flag's value is missing or not a number.
    """
    values, prompts = {}, []
    words = iter(typed)
    for word in words:
        name, equals, value = word.partition("=")
        flag = find_flag(name, flags)
        if word == "--":
            prompts.extend(words)
        elif word in ("--help", "-h"):
            return ["--", "--help"]
        elif flag is None:
            prompts.append(word)
        else:
            if not equals:
                value = next(words, None)
            if value is None:
                raise ValueError(f"{name} needs a value; --help lists the flags")
            if flag == "prompt":
                prompts.append(value)
            else:
                values[flag] = whole_number(value, name) if type(flags[flag]) is int else value

    if not prompts:
        raise ValueError("give a prompt, in quotes; --help lists the flags")
    if prompts == [""]:
        raise ValueError("the prompt is empty: there is nothing to continue")
    if len(prompts) > 1:
        for prompt in prompts:
            if prompt.startswith("-"):
                raise ValueError(f"there is no flag {prompt}; --help lists the flags")
        raise ValueError(f"there are {len(prompts)} prompts; put quotes around a prompt of several words")
    values["prompt"] = prompts[0]
    return [f"--{flag}={value!r}" for flag, value in values.items()]


def find_flag(word, flags):
    """The flag that `word` names: --model_size, --model-size, or -n if only one begins with n; else None."""
    if word.startswith("--"):
        name = word[2:].replace("-", "_")
        return name if name in flags else None
    matches = [flag for flag in flags if word == f"-{flag[0]}"]
    return matches[0] if len(matches) == 1 else None


def whole_number(text, flag):
    """The text as an int, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{flag} takes a whole number from 1 up, not {text!r}")
    return int(text)
