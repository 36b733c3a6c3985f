"""The command line: what was typed becomes a call; what goes wrong, one line and an exit status."""

import difflib
import inspect
import math
import os
import re
import sys
import warnings

from files import CheckpointError

MAX_MESSAGE = 2000  # characters


def run(main):
    """Call main with what was typed, which goes to its first parameter, and exit as a command does.

    The exit status is 0 if all went well, 2 for a bad argument (ValueError), 1 for what the world did
    (OSError, MemoryError, and CheckpointError, which is a damaged file), and 130 after Ctrl-C.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # Python has None for a closed one
    sys.stderr = sys.stderr or open(os.devnull, "w")
    sys.stdout.reconfigure(errors="replace")  # not every terminal can show every character
    program = os.path.basename(sys.argv[0])
    warnings.showwarning = lambda message, *_: print(f"{program}: {message}", file=sys.stderr)
    try:
        flags = inspect.signature(main).parameters
        arguments = read_arguments(sys.argv[1:], flags)
        if arguments is None:
            show_help(main, program)
        else:
            main(**arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        sys.exit(130)  # tqdm, interrupted while it takes its lock, fails to give it back
    except (ValueError, OSError, MemoryError) as error:
        print(f"{program}: {as_one_line(str(error) or 'out of memory')}", file=sys.stderr)
        sys.stdout = None  # one that cannot be written to would fail again when Python closes it
        is_bad_argument = isinstance(error, ValueError) and not isinstance(error, CheckpointError)
        sys.exit(2 if is_bad_argument else 1)


def show_help(main, program):
    """What main's docstring says, as fire lays it out. Its import takes long, and nothing else needs it."""
    import fire

    fire.Fire(main, command=["--", "--help"], name=program)


def as_one_line(message):
    """The message without what a terminal would obey: names in a stranger's files may have it in them."""
    printable = "".join(char if char.isprintable() else " " for char in message)
    return printable if len(printable) <= MAX_MESSAGE else f"{printable[:MAX_MESSAGE]}..."


def read_arguments(typed, flags):
    """A command line -> {name: value}, to call main with; or None, to ask for help.

    A word that is not a flag is for the first of `flags`, such as the prompt, exactly as typed, and so is
    whatever follows a --.

    Args:
        typed: the words of the command line.
        flags: {name: inspect.Parameter}. What a flag takes is said by its annotation.

    Raises:
        ValueError: there are two prompts, or none where one is needed; a flag does not exist, or its value is
            missing or not of its kind.
    """
    values, texts = {}, []
    first = next(iter(flags))  # the parameter that is given without its name, such as the prompt
    words = iter(typed)
    for word in words:
        name, equals, value = word.partition("=")
        flag = find_flag(name, flags)
        if word == "--":
            texts.extend(words)
        elif word in ("--help", "-h"):
            return None
        elif word == "-" and "prompt_file" in flags:
            values["prompt_file"] = "-"
        elif flag is None:
            check_not_mistyped(word, flags)
            texts.append(word)
        else:
            kind = kind_of(flags[flag])
            if not equals:
                value = "True" if kind is bool else next(words, None)
            if value is None or (value == "" and flag != first):
                raise ValueError(f"{name} needs a value; --help lists the flags")
            if flag == first:
                texts.append(value)
            elif kind is list:
                values.setdefault(flag, []).append(value)
            else:
                lowest = 1 if flags[flag].default else 0  # 0 is fine where it, or nothing, is the default
                values[flag] = read_value(value, kind, name, lowest)

    if len(texts) > 1:
        for text in texts:
            if text.startswith("-"):
                raise ValueError(f"there is no flag {text}; --help lists the flags")
        raise ValueError(f"there are {len(texts)} {first}s; give one, in quotes if it has spaces")
    if texts:
        values[first] = texts[0]
    if flags[first].default is inspect.Parameter.empty and not any(texts):
        raise ValueError(f"the {first} is empty: give one, in quotes if need be; --help lists the flags")
    return values


def find_flag(word, flags):
    """The flag that `word` names: --model_size, --model-size, or -n for the first that begins with n."""
    if word.startswith("--"):
        name = word[2:].replace("-", "_")
        return name if name in flags else None
    return next((flag for flag in flags if word == f"-{flag[0]}"), None)


def check_not_mistyped(word, flags):
    """ValueError if a word that is no flag was probably meant to be one: --a=b, or a name like a flag's."""
    match = re.fullmatch(r"--?([a-z][\w-]*)(=.*)?", word, re.IGNORECASE | re.DOTALL)
    if match and (match[2] or word.startswith("--")):
        name = match[1].lower().replace("-", "_")
        similar = [flag for flag in flags if flag.startswith(name)] or difflib.get_close_matches(name, flags)
        if similar:
            raise ValueError(f"there is no flag {word}, but --{similar[0]}; a prompt like that goes after --")
        if match[2]:
            raise ValueError(
                f"there is no flag {word}; --help lists the flags, a prompt like that goes after --"
            )


def kind_of(flag):
    """The type of a flag's values: its annotation, or else that of its default where that is a number."""
    if flag.annotation is not flag.empty:
        return flag.annotation
    return int if type(flag.default) is int else str


def read_value(text, kind, name, lowest):
    """What the text of a flag's value stands for; a whole number has to be `lowest` or more."""
    if kind is str:
        return text
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        number = kind(text) if re.fullmatch(r"[-+.\deE]+", text, re.ASCII) else math.nan
        if math.isfinite(number) and (kind is float or number >= lowest):
            return number
    except (KeyError, ValueError, OverflowError):
        pass
    what = {bool: "True or False", float: "a number", int: f"a whole number from {lowest} up"}[kind]
    raise ValueError(f"{name} takes {what}, not {text!r}")
