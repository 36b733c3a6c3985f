"""Parse the words of a command line into arguments for `main`. The parameters of `main` are the flags."""

import difflib
import inspect
import math
import re


def parse_arguments(words, flags):
    """Turn a command line into keyword arguments for `main`.

    A flag is written --name=value, --name value, or with its first letter: -n 4. A bool flag needs no value.
    Any other word is the value of the first flag, such as the prompt, unchanged. So is every word after --.

    Args:
        words: the command line, without the name of the program.
        flags: {name: inspect.Parameter}; the annotation is the type of the values.

    Returns:
        {name: value}, or None if the words ask for help.

    Raises:
        ValueError: a flag is unknown, a value is missing or invalid, or there is not exactly one prompt.
    """
    values, texts = {}, []
    first = next(iter(flags))
    words = iter(words)
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
            reject_mistyped_flag(word, flags)
            texts.append(word)
        else:
            value_type = type_of(flags[flag])
            if not equals:
                value = "True" if value_type is bool else next(words, None)
            if value is None or (value == "" and flag != first):
                raise ValueError(f"{name} needs a value; --help lists the flags")
            if flag == first:
                texts.append(value)
            elif value_type is list:
                values.setdefault(flag, []).append(value)
            else:
                minimum = 1 if flags[flag].default else 0  # 0 is valid if the default is 0 or None
                values[flag] = parse_value(value, value_type, name, minimum)

    if len(texts) > 1:
        for text in texts:
            if text.startswith("-"):
                raise ValueError(f"unknown flag {text}; --help lists the flags")
        raise ValueError(f"expected one {first}, but got {len(texts)}; put it in quotes if it has spaces")
    if texts:
        values[first] = texts[0]
    if flags[first].default is inspect.Parameter.empty and not any(texts):
        raise ValueError(f"the {first} is missing or empty; --help lists the flags")
    return values


def find_flag(word, flags):
    """Look up a flag: --model_size, --model-size, or -n for the first flag that begins with n; else None."""
    if word.startswith("--"):
        name = word[2:].replace("-", "_")
        return name if name in flags else None
    return next((flag for flag in flags if word == f"-{flag[0]}"), None)


def reject_mistyped_flag(word, flags):
    """Raise ValueError if a word looks like a flag: --a=b, -a=b, or -- and almost the name of a flag."""
    match = re.fullmatch(r"--?([a-z][\w-]*)(=.*)?", word, re.IGNORECASE | re.DOTALL)
    if match and (match[2] or word.startswith("--")):
        name = match[1].lower().replace("-", "_")
        similar = [flag for flag in flags if flag.startswith(name)] or difflib.get_close_matches(name, flags)
        hint = f"did you mean --{similar[0]}?" if similar else "--help lists the flags."
        if similar or match[2]:
            flag = word.partition("=")[0]  # its value may be a password
            raise ValueError(
                f"unknown flag {flag}; {hint} If this is the {next(iter(flags))}, put -- before it"
            )


def type_of(flag):
    """The type of a flag's values: its annotation, or int if only the default says so, or str."""
    if flag.annotation is not flag.empty:
        return flag.annotation
    return int if type(flag.default) is int else str


def parse_value(text, value_type, name, minimum):
    """Convert a value to its type. Raises ValueError if it is invalid, or an int below `minimum`."""
    if value_type is str:
        return text
    try:
        if value_type is bool:
            return {"true": True, "false": False}[text.lower()]
        number = value_type(text) if re.fullmatch(r"[-+.\deE]+", text, re.ASCII) else math.nan
        if math.isfinite(number) and (value_type is float or number >= minimum):
            return number
    except (KeyError, ValueError, OverflowError):
        pass
    valid = {bool: "True or False", float: "a number", int: f"a whole number of at least {minimum}"}
    raise ValueError(f"{name} takes {valid[value_type]}, not {text!r}")
