"""The interactive session, in a real terminal."""

import os
import re
import signal
import time

from support.command_line import QUIET, read_terminal
from support.paths import posix


@posix
def test_session_answers_each_prompt(terminal, generated_text):
    process, keyboard = terminal("-n=5")
    read_terminal(keyboard, "> $")
    os.write(keyboard, b"The king\n")
    assert generated_text("The king", 5) in read_terminal(keyboard, "tokens/s\r\n.*> $")
    os.write(keyboard, b"\n")  # an empty line has no answer
    assert "tokens" not in read_terminal(keyboard, "> $")
    os.write(keyboard, "naïve 🙂\n".encode())
    assert generated_text("naïve 🙂", 5) in read_terminal(keyboard, "tokens/s\r\n.*> $")
    os.write(keyboard, b"\x1b[A\x1b[A\n")  # arrow up, twice
    assert generated_text("The king", 5) in read_terminal(keyboard, "tokens/s\r\n.*> $")
    os.write(keyboard, b"\x04")  # Ctrl-D
    assert "Traceback" not in read_terminal(keyboard)
    assert process.wait(timeout=60) == 0


@posix
def test_ctrl_c_stops_the_answer_or_clears_the_line(terminal, generated_text):
    process, keyboard = terminal("-n=100000", "--repetition_penalty=1.5", QUIET)
    read_terminal(keyboard, "> $")
    os.write(keyboard, b"The king\n")
    beginning = generated_text("The king", 20, repetition_penalty=1.5)[:30]
    read_terminal(keyboard, re.escape(beginning))
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in read_terminal(keyboard, "\n> $")
    os.write(keyboard, b"half a prompt")
    read_terminal(keyboard, "half a prompt")
    time.sleep(0.5)  # readline misses a signal between the echo and its wait for the next key
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in read_terminal(keyboard, "\n> $")
    os.write(keyboard, b"Once\n")
    read_terminal(keyboard, re.escape(generated_text("Once", 20, repetition_penalty=1.5)[:30]))
    process.send_signal(signal.SIGINT)
    read_terminal(keyboard, "\n> $")
    os.write(keyboard, b"\x04")
    assert process.wait(timeout=60) == 0


@posix
def test_prompt_that_is_not_utf_8_does_not_end_the_session(terminal):
    process, keyboard = terminal("-n=5")
    read_terminal(keyboard, "> $")
    os.write(keyboard, b"caf\xe9\n")
    assert "Traceback" not in read_terminal(keyboard, "\n.*> $")
    os.write(keyboard, b"\x04")
    assert process.wait(timeout=60) == 0
