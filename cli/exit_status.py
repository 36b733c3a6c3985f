"""Run a `main` as a command: errors become one line on stderr and an exit status."""

import contextlib
import errno
import inspect
import os
import sys
import warnings

import numpy as np

from cli.argument_parser import parse_arguments
from cli.help_text import help_text
from loading.untrusted_files import CheckpointError

MAX_MESSAGE_LENGTH = 2000  # characters


def run(main):
    """Call main with the arguments of the command line. An error ends the process with its exit status.

    1: network or disk error (OSError), damaged file (CheckpointError), out of memory (MemoryError), a result
    that is NaN or infinite (FloatingPointError). Also a closed pipe, as in `| head -1`, without a message.
    2: bad argument (any other ValueError). 130: Ctrl-C.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")  # Python sets a closed stream to None
    sys.stderr = sys.stderr or open(os.devnull, "w")
    if hasattr(sys.stdout, "reconfigure"):  # the stdout of a notebook has no such method
        sys.stdout.reconfigure(errors="replace")  # some terminals cannot encode every character
    program = os.path.basename(sys.argv[0])
    try:
        with warnings.catch_warnings():  # restores showwarning: a notebook continues after `%run gpt2.py`
            warnings.showwarning = lambda message, *_: print(f"{program}: {message}", file=sys.stderr)
            with np.errstate(over="raise", invalid="raise"):
                call(main, program)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        sys.exit(130)  # Ctrl-C while tqdm acquires its lock: its release of the lock then fails
    except FloatingPointError as error:
        print_error(program, f"the model does not compute finite numbers: {error}")
        sys.exit(1)
    except (ValueError, OSError, MemoryError) as error:
        if not is_closed_pipe(error):
            print_error(program, error)
        is_bad_argument = isinstance(error, ValueError) and not isinstance(error, CheckpointError)
        sys.exit(2 if is_bad_argument else 1)
    finally:
        discard_unwritten_output()


def call(main, program):
    """Call main with the arguments of the command line, or print its help text if they ask for help."""
    arguments = parse_arguments(sys.argv[1:], inspect.signature(main).parameters)
    if arguments is None:
        print(help_text(main, program))
    else:
        main(**arguments)


def is_closed_pipe(error):
    """Has the process that reads our output ended? Windows reports that as an invalid argument, EINVAL."""
    is_einval = os.name == "nt" and isinstance(error, OSError) and error.errno == errno.EINVAL
    return isinstance(error, BrokenPipeError) or (is_einval and error.filename is None)


def print_error(program, error):
    """Print an error as one line on stderr."""
    with contextlib.suppress(OSError):  # stderr may be a closed pipe
        print(f"{program}: {as_one_line(str(error) or 'out of memory')}", file=sys.stderr)


def discard_unwritten_output():
    """Replace an output that cannot be written by os.devnull, so that Python's flush at exit succeeds."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def as_one_line(message):
    """Shorten a message and blank its control characters: names in untrusted files can contain any."""
    printable = "".join(char if char.isprintable() else " " for char in message)
    shortened = printable[:MAX_MESSAGE_LENGTH]
    return printable if printable == shortened else f"{shortened}..."
