"""The text of --help: the docstring of `main`, with the spelling and the default of each flag."""

import inspect
import re
import textwrap


def help_text(main, program):
    """The usage, the docstring before `Args:`, and the description of each flag."""
    about, descriptions = read_docstring(main)
    flags = inspect.signature(main).parameters
    layout = {"initial_indent": " " * 8, "subsequent_indent": " " * 8, "break_on_hyphens": False}
    lines = [f"Usage: {program} {usage(flags)}", "", about, "", "Flags, with their defaults:"]
    for name, description in descriptions.items():
        lines.append(f"  {spelling(flags[name])}")
        lines += textwrap.wrap(description, width=80, **layout)
    return "\n".join(lines)


def read_docstring(main):
    """Split the docstring of main -> (the text before `Args:`, {flag: description})."""
    about, _, arguments = inspect.getdoc(main).partition("Args:\n")
    parts = re.split(r"^    (\w+): ", arguments, flags=re.MULTILINE)[1:]  # further lines are indented more
    descriptions = {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    return about.strip(), descriptions


def usage(flags):
    """The first flag needs no name. It is optional if it has a default."""
    first, *others = flags.values()
    value = first.name.upper() if first.default is first.empty else f"[{first.name.upper()}]"
    return f"{value} [FLAGS]" if others else value


def spelling(flag):
    """--name=default; --name=NAME without a default; --name for a bool flag that is False."""
    if flag.annotation is bool and not flag.default:
        return f"--{flag.name}"
    has_default = flag.default not in (flag.empty, None, ())
    return f"--{flag.name}={flag.default if has_default else flag.name.upper()}"
