"""The table of flags in docs/command-line.md, from the help of the flags."""

import html
import inspect
import re

from cli import flags
from cli.help_text import read_docstring, spelling

START = "<!-- the flags, from cli/flags.py -->\n\n"
END = "\n<!-- end of the flags -->"


def flag_table():
    """A Markdown table: each flag with its default, and its description in --help."""
    parameters = inspect.signature(flags.main).parameters
    _, descriptions = read_docstring(flags.main)
    rows = [f"| `{spelling(parameters[name])}` | {escape(text)} |\n" for name, text in descriptions.items()]
    return "| flag | what it does |\n|---|---|\n" + "".join(rows)


def escape(text):
    """Escape the characters of a text that mean something in a Markdown table."""
    return html.escape(text, quote=False).replace("|", "&#124;")


def with_flag_table(document):
    """Replace the table between the two markers of a document, if it has them."""
    return re.sub(f"(?<={START}).*?(?={END})", lambda _: flag_table(), document, flags=re.DOTALL)
