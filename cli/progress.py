"""Progress on stderr: the progress bar, and the statistics at the end."""

import sys
import time


def progress_bar(iterable, n_tokens, is_quiet):
    """A bar on stderr if it is a terminal; it appears after two seconds and disappears at the end."""
    from tqdm import tqdm  # here, because most runs need no bar

    return tqdm(iterable, total=n_tokens, unit="token", delay=2, leave=False, disable=is_quiet or None)


def write_above(bar, line):
    """Print a line to stdout, above the bar. Ctrl-C never leaves half a line: it is one write."""
    bar.write(line + "\n", file=sys.stdout, end="")
    sys.stdout.flush()


def print_statistics(n_tokens, start, is_quiet):
    """Print one line to stderr. `start` is the time.perf_counter() before the first token."""
    if not is_quiet:
        seconds = time.perf_counter() - start
        print(f"{n_tokens} tokens, {seconds:.2f} s, {n_tokens / seconds:.1f} tokens/s", file=sys.stderr)
