"""The interactive session: read prompts from the terminal, one at a time."""

import contextlib
import sys


def converse(answer, is_quiet):
    """Call answer([prompt]) for each prompt, until Ctrl-D. Ctrl-C stops an answer, or clears the line."""
    if not is_quiet:
        print("Type a prompt. Ctrl-C stops an answer, Ctrl-D exits.", file=sys.stderr)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives input() arrow keys and a history; Windows has its own)
    while True:
        try:
            if not sys.stdout.isatty():
                print("> ", end="", file=sys.stderr, flush=True)
            prompt = input("> " if sys.stdout.isatty() else "")
            if prompt:
                answer([prompt])
        except KeyboardInterrupt:
            print(file=sys.stderr)
        except EOFError:
            print(file=sys.stderr)
            return
        except ValueError as error:
            print(error, file=sys.stderr)
