"""Streamed text equals decoded text, up to the first stop string, however the tokens cut it."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import DATA

from encoder import Encoder, bytes_to_unicode, get_encoder
from generation.text_stream import TextStream

GPT2 = get_encoder("gpt2", DATA)


def byte_ids(raw):
    """One id per byte."""
    return [GPT2.encoder[GPT2.byte_encoder[byte]] for byte in raw]


def ids_cut_at(text, cuts):
    """Encode a text so that no token crosses one of the cuts, which are positions between its bytes."""
    raw, ids = text.encode("utf-8"), []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(raw)]):
        try:
            ids += GPT2.encode(raw[start:end].decode("utf-8"))
        except UnicodeDecodeError:  # the cut is inside a character
            ids += byte_ids(raw[start:end])
    return ids


def text_before_stop(text, stop):
    """Read character by character, up to the first complete stop string -> (text before it, is_found)."""
    for n in range(len(text) + 1):
        complete = [string for string in stop if text[:n].endswith(string)]
        if complete:
            return text[: n - max(map(len, complete))], True
    return text, False


letters = st.text("ab é🙂", max_size=12)


@settings(max_examples=500)
@given(text=letters, stop=st.lists(st.text("ab é🙂", min_size=1, max_size=4), max_size=3), data=st.data())
def test_stop_strings_are_detected_wherever_the_tokens_are_cut(text, stop, data):
    ids = ids_cut_at(text, data.draw(st.sets(st.integers(0, len(text.encode("utf-8"))))))
    stream = TextStream(GPT2, stop)
    pieces = []
    for token_id in ids:
        pieces.append(stream.push(token_id))
        if stream.has_stopped:
            break
    pieces.append(stream.finish())
    assert ("".join(pieces), stream.has_stopped) == text_before_stop(text, stop)


@pytest.mark.parametrize("n", range(len("end of 🙂")))
def test_no_part_of_a_stop_string_is_printed(n):
    """The token boundary is after the first n characters of the stop string."""
    stop = "end of 🙂"
    stream = TextStream(GPT2, [stop])
    ids = ids_cut_at("before " + stop, [len(("before " + stop[:n]).encode("utf-8"))])
    assert "".join(map(stream.push, ids)) == "before "
    assert stream.has_stopped
    assert stream.finish() == ""


@given(st.lists(st.integers(0, 50256)), st.lists(st.text(min_size=1, max_size=2), max_size=2))
def test_streamed_text_equals_decoded_text(ids, stop):
    stream = TextStream(GPT2, stop)
    text = "".join(map(stream.push, ids)) + stream.finish()
    assert text == text_before_stop(GPT2.decode(ids), stop)[0]


def test_nothing_follows_a_stop_string():
    stream = TextStream(GPT2, ["stop"])
    assert "".join(map(stream.push, GPT2.encode("a stop"))) == "a "
    half_a_character = GPT2.encode("🏽")[:1]
    assert [stream.push(token_id) for token_id in GPT2.encode(" b") + half_a_character] == ["", ""]
    assert stream.finish() == ""


def test_text_is_released_as_early_as_possible():
    stream = TextStream(GPT2, ["stop it"])
    pieces = [stream.push(token_id) for token_id in byte_ids("é st, stop i!".encode())]
    assert pieces == [*["", "é", " ", "", "", "st,", " "], *[""] * 6, "stop i!"]


def test_long_tokens_take_linear_time():
    """A vocabulary can have a token of a million characters."""
    vocabulary = {char: n for n, char in enumerate(bytes_to_unicode().values())} | {"x" * 1_000_000: 256}
    stream = TextStream(Encoder(vocabulary, []), ["y" * 10])
    assert [len(stream.push(256)), len(stream.push(256)), len(stream.finish())] == [1_000_000, 1_000_000, 0]
