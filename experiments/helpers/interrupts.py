"""Stop at a safe point after Ctrl-C.

A KeyboardInterrupt during an import or a compilation can crash JAX. During garbage collection, JAX's callback
swallows it. So the signal handler only records the signal.
"""

import signal
from contextlib import contextmanager


@contextmanager
def recorded_interrupt():
    """Record Ctrl-C inside the block. Yields a function that raises KeyboardInterrupt if there was one.

    The end of the block raises it, too. It restores the previous handler first.
    """
    interrupts = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: interrupts.append(number))

    def check_interrupt():
        if interrupts:
            raise KeyboardInterrupt

    try:
        yield check_interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
    check_interrupt()
