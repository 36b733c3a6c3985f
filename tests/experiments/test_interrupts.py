"""helpers/interrupts.py: Ctrl-C is recorded, and raised only at safe points."""

import os
import signal

import pytest
from helpers.interrupts import recorded_interrupt
from support.paths import posix


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@posix
def test_interrupt_stops_between_two_steps():
    handler = signal.getsignal(signal.SIGINT)
    steps = []
    with pytest.raises(KeyboardInterrupt), recorded_interrupt() as check_interrupt:
        for step in range(5):
            steps.append(step)
            if step == 2:
                press_ctrl_c()
                steps.append("rest of step 2")
            check_interrupt()
    assert steps == [0, 1, 2, "rest of step 2"]
    assert signal.getsignal(signal.SIGINT) is handler


@posix
def test_end_of_the_block_raises_the_interrupt():
    handler = signal.getsignal(signal.SIGINT)
    steps = []
    with pytest.raises(KeyboardInterrupt), recorded_interrupt():
        press_ctrl_c()
        steps.append("rest of the block")
    assert steps == ["rest of the block"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_handler_is_restored_after_an_error():
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyError), recorded_interrupt():
        assert signal.getsignal(signal.SIGINT) is not handler
        raise KeyError
    assert signal.getsignal(signal.SIGINT) is handler


def test_nothing_happens_without_an_interrupt():
    with recorded_interrupt() as check_interrupt:
        check_interrupt()
