"""The progress bar of the long-running experiments."""

from tqdm import tqdm


def progress_bar(iterable, total, unit, n_done=0):
    """Show a bar on stderr after two seconds, but only in a terminal. Yields the items of the iterable."""
    return tqdm(iterable, total=total, initial=n_done, unit=unit, delay=2, leave=False, disable=None)
