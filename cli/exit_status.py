"""Run a `main` as a command: errors become one line on stderr and an exit status."""

import inspect
import os
import sys
import warnings

from cli.argument_parser import parse_arguments
from loading.untrusted_files import CheckpointError

MAX_MESSAGE_LENGTH = 2000  # characters


def run(main):
    """Call main with the arguments of the command line. An error ends the process with its exit status.

    1: network or disk error (OSError), damaged file (CheckpointError), out of memory (MemoryError).
    2: bad argument (any other ValueError). 130: Ctrl-C.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # Python sets a closed stream to None
    sys.stderr = sys.stderr or open(os.devnull, "w")
    sys.stdout.reconfigure(errors="replace")  # some terminals cannot encode every character
    program = os.path.basename(sys.argv[0])
    warnings.showwarning = lambda message, *_: print(f"{program}: {message}", file=sys.stderr)
    try:
        arguments = parse_arguments(sys.argv[1:], inspect.signature(main).parameters)
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
        sys.exit(130)  # Ctrl-C while tqdm acquires its lock: its release of the lock then fails
    except (ValueError, OSError, MemoryError) as error:
        print(f"{program}: {as_one_line(str(error) or 'out of memory')}", file=sys.stderr)
        sys.stdout = None  # after a failed write, the flush at exit would fail too
        is_bad_argument = isinstance(error, ValueError) and not isinstance(error, CheckpointError)
        sys.exit(2 if is_bad_argument else 1)


def show_help(main, program):
    """Print the docstring of main in fire's layout. Only this needs fire, which is slow to import."""
    import fire

    fire.Fire(main, command=["--", "--help"], name=program)


def as_one_line(message):
    """Shorten a message and blank its control characters: names in untrusted files can contain any."""
    printable = "".join(char if char.isprintable() else " " for char in message)
    shortened = printable[:MAX_MESSAGE_LENGTH]
    return printable if printable == shortened else f"{shortened}..."
