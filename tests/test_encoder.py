"""The tokenizer against Hugging Face tokenizers' byte-level BPE, on GPT-2's vocabulary and on the demo's."""

import itertools
import json
import shutil
import sys

import numpy as np
import pytest
import tokenizers
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import encoder
from encoder import Encoder, TextStream, bytes_to_unicode, get_encoder
from utils import DEMO_DIR

DATA = ROOT / "tests" / "data"
FOLDERS = {"gpt2": DATA / "gpt2", "demo": DEMO_DIR}
HARD_TEXTS = json.loads((DATA / "hard_texts.json").read_text(encoding="utf-8"))


def reference_tokenizer(folder):
    vocab, merges = str(folder / "encoder.json"), str(folder / "vocab.bpe")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(vocab, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


OURS = {name: get_encoder(folder.name, folder.parent) for name, folder in FOLDERS.items()}
THEIRS = {name: reference_tokenizer(folder) for name, folder in FOLDERS.items()}


def check(text):
    """Our ids are those of tokenizers, and they decode to the text."""
    for name, ours in OURS.items():
        ids = ours.encode(text)
        assert ids == THEIRS[name].encode(text).ids
        assert ours.decode(ids) == text


# Unassigned characters are left out of the comparison: which they are depends on the edition of Unicode.
assigned = st.characters(exclude_categories=["Cs", "Cn"])
pieces = st.one_of(
    st.text(assigned),
    st.sampled_from(HARD_TEXTS),
    st.builds(lambda char, n: char * n, assigned, st.integers(1, 200)),
    st.text("\u0300\u0301\u0302\u036f\u20e3\ufe0f\u200d" + "aeén", max_size=12),  # combining marks
    st.text("😀👍🏽👨👩👧❤🇩🇪🏴" + "\u200d\ufe0f", max_size=12),
    st.text("的一是不了人我在有他こんにちは한국어。、！", max_size=12),
    st.text("مرحبا שלום \u200e\u200f\u202b\u202c١٢٣", max_size=12),
    st.text(" \t\r\n\v\f\u00a0\u2003\u3000\u0085\u2028", max_size=12),
    st.text([chr(n) for n in range(32)] + [chr(n) for n in range(0x7F, 0xA0)], max_size=12),
    st.text("'sStTrReEvVmMlLdD ’", max_size=12),
    st.text("0123456789.,-٣½²Ⅷ ", max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz ABC", max_size=60),
)
texts = st.lists(pieces, max_size=6).map("".join)


@given(texts)
@settings(max_examples=500)
def test_any_text_encodes_as_in_tokenizers_and_comes_back(text):
    check(text)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_hard_texts(text):
    check(text)


@pytest.mark.parametrize("letters", ["a", "ab", "abcdefghijklmnopqrstuvwxyz", "é", "的一是不了人我在有他"])
def test_a_long_text_without_a_space(letters):
    """It would take hours in steps that grow with the square of its length."""
    check("".join(np.random.default_rng(0).choice(list(letters), size=100_000)))


def test_a_long_text():
    check((ROOT / "gpt2.py").read_text(encoding="utf-8") * 5)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_at_all_comes_back(text):
    for ours in OURS.values():
        assert ours.decode(ours.encode(text)) == text


def test_every_single_character_comes_back():
    ours = OURS["gpt2"]
    for start in range(0, sys.maxunicode, 0x40):
        if not 0xD800 <= start < 0xE000:  # the surrogates
            text = "".join(map(chr, range(start, start + 0x40)))
            assert ours.decode(ours.encode(text)) == text


def test_gpt2_has_its_published_50257_tokens():
    assert len(OURS["gpt2"].encoder) == 50257
    assert len(OURS["gpt2"].bpe_ranks) == 50000


def test_known_ids():
    assert OURS["gpt2"].encode("Not all heroes wear capes.") == [3673, 477, 10281, 5806, 1451, 274, 13]
    assert OURS["gpt2"].encode("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29]
    assert OURS["gpt2"].decode([50256]) == "<|endoftext|>"
    assert OURS["demo"].decode([4095]) == "<|endoftext|>"


def test_the_188_printable_bytes_stand_for_themselves():
    table = bytes_to_unicode()
    assert sum(ord(char) == byte for byte, char in table.items()) == 188
    assert sorted(char for byte, char in table.items() if ord(char) != byte) == [
        chr(256 + n) for n in range(68)
    ]
    assert table[ord(" ")] == "Ġ"
    assert table[ord("\n")] == "Ċ"


@pytest.mark.parametrize("text", ["\ud800", "fine\udfffnot", "\udc80"])
def test_a_lone_surrogate_is_refused(text):
    with pytest.raises(ValueError, match=r"lone surrogate '\\ud[89a-f]"):
        OURS["gpt2"].encode(text)


@pytest.mark.parametrize("id", [50257, -1, 10**9, "a", None])
def test_an_unknown_id_is_refused(id):
    with pytest.raises(ValueError, match="not in the vocabulary of 50257 tokens"):
        OURS["gpt2"].decode([1, id])


@given(st.lists(st.integers(0, 50256)))
def test_any_ids_decode_to_what_their_bytes_say(ids):
    tokens = [OURS["gpt2"].decoder[id] for id in ids]
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    expected = b"".join(bytes(byte_of[char] for char in token) for token in tokens).decode("utf-8", "replace")
    assert OURS["gpt2"].decode(ids) == expected


def test_half_a_character_decodes_to_a_replacement():
    ids = OURS["gpt2"].encode("🏽")
    assert len(ids) > 1
    assert OURS["gpt2"].decode(ids[:1]) == "\ufffd"


def test_ids_may_be_of_numpy():
    assert OURS["gpt2"].decode(np.array([3673, 477])) == "Not all"


def test_the_cache_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(encoder, "CACHE_SIZE", 10)
    small = get_encoder("gpt2", DATA)
    for text in HARD_TEXTS:
        assert small.encode(text) == OURS["gpt2"].encode(text)
    assert small.bpe.cache_info().currsize == small.bpe.cache_info().maxsize == 10


def test_merges_apply_by_rank_and_from_the_left():
    """Worked by hand: of "abab aab", bc would come first but is not there, then all ab, then abab."""
    merges = [("b", "c"), ("a", "b"), ("ab", "ab")]
    vocabulary = [*bytes_to_unicode().values(), *map("".join, merges)]
    ours = Encoder({token: id for id, token in enumerate(vocabulary)}, merges)
    assert [vocabulary[id] for id in ours.encode("abab aab")] == ["abab", "Ġ", "a", "ab"]
    assert [vocabulary[id] for id in ours.encode("abcb")] == ["a", "bc", "b"]


# Text as it comes.


def ids_cut_at(text, cuts):
    """Ids of the text, whose tokens never reach over one of the cuts, which are places between its bytes."""
    raw, ids = text.encode("utf-8"), []
    for start, end in itertools.pairwise([0, *sorted(cuts), len(raw)]):
        try:
            ids += OURS["gpt2"].encode(raw[start:end].decode("utf-8"))
        except UnicodeDecodeError:  # half a character: byte by byte
            ids += [OURS["gpt2"].encoder[OURS["gpt2"].byte_encoder[byte]] for byte in raw[start:end]]
    return ids


def read_until(text, stop):
    """Character by character, until the text read so far ends with a stop string -> the text before that."""
    for n in range(len(text) + 1):
        complete = [string for string in stop if text[:n].endswith(string)]
        if complete:
            return text[: n - max(map(len, complete))], True
    return text, False


letters = st.text("ab é🙂", max_size=12)


@settings(max_examples=500)
@given(text=letters, stop=st.lists(st.text("ab é🙂", min_size=1, max_size=4), max_size=3), data=st.data())
def test_stop_strings_are_found_wherever_the_tokens_are_cut(text, stop, data):
    ids = ids_cut_at(text, data.draw(st.sets(st.integers(0, len(text.encode("utf-8"))))))
    stream = TextStream(OURS["gpt2"], stop)
    pieces = []
    for id in ids:
        pieces.append(stream.push(id))
        if stream.has_stopped:
            break
    pieces.append(stream.finish())
    assert ("".join(pieces), stream.has_stopped) == read_until(text, stop)


@pytest.mark.parametrize("n", range(len("end of 🙂")))
def test_a_stop_string_over_each_token_boundary_is_never_printed_in_part(n):
    stop = "end of 🙂"
    stream = TextStream(OURS["gpt2"], [stop])
    ids = ids_cut_at("before " + stop, [len(("before " + stop[:n]).encode("utf-8"))])
    assert "".join(map(stream.push, ids)) == "before "
    assert stream.has_stopped
    assert stream.finish() == ""


@given(st.lists(st.integers(0, 50256)), st.lists(st.text(min_size=1, max_size=2), max_size=2))
def test_any_ids_come_to_what_they_decode_to(ids, stop):
    stream = TextStream(OURS["gpt2"], stop)
    text = "".join(map(stream.push, ids)) + stream.finish()
    assert text == read_until(OURS["gpt2"].decode(ids), stop)[0]


def test_after_a_stop_string_nothing_comes():
    stream = TextStream(OURS["gpt2"], ["stop"])
    assert "".join(map(stream.push, OURS["gpt2"].encode("a stop"))) == "a "
    half_a_character = OURS["gpt2"].encode("🏽")[:1]
    assert [stream.push(id) for id in OURS["gpt2"].encode(" b") + half_a_character] == ["", ""]
    assert stream.finish() == ""


def test_text_is_held_back_no_longer_than_it_must():
    stream = TextStream(OURS["gpt2"], ["stop it"])
    bytes_of = [OURS["gpt2"].encoder[OURS["gpt2"].byte_encoder[byte]] for byte in "é st, stop i!".encode()]
    assert [stream.push(id) for id in bytes_of] == [*["", "é", " ", "", "", "st,", " "], *[""] * 6, "stop i!"]


# Damage.


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("encoder.json", b"", "encoder.json: "),
        ("encoder.json", b"<html>", "encoder.json: "),
        ("encoder.json", b"\xff\xfe", "encoder.json: "),
        ("encoder.json", b"[" * 100_000, "encoder.json: "),
        ("encoder.json", b"[]", "encoder.json: it is not a JSON object"),
        ("encoder.json", b'{"a": "b"}', "encoder.json: it is not an object of tokens and their ids"),
        ("encoder.json", b'{"a": 1}', r"encoder\.json and vocab\.bpe do not fit: there is no id"),
        ("vocab.bpe", b"\xff\xfe", "vocab.bpe: "),
        ("vocab.bpe", b"#version: 0.2\na b c\n", "vocab.bpe: a line is not a pair"),
        ("vocab.bpe", b"#version: 0.2\nqq qq\n", r"encoder\.json and vocab\.bpe do not fit: there is no id"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, fault):
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copy(DEMO_DIR / name, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=fault):
        get_encoder(tmp_path.name, tmp_path.parent)


def test_a_vocabulary_with_characters_that_are_no_bytes_is_refused():
    vocabulary = {char: byte for byte, char in bytes_to_unicode().items()}
    with pytest.raises(ValueError, match="stand for no byte"):
        Encoder(vocabulary | {"<a space>": 256}, [])


@pytest.mark.parametrize("file", ["encoder.json", "vocab.bpe"])
def test_missing_files_are_named(tmp_path, file):
    for name in {"encoder.json", "vocab.bpe"} - {file}:
        shutil.copy(DEMO_DIR / name, tmp_path)
    with pytest.raises(FileNotFoundError, match=file):
        get_encoder(tmp_path.name, tmp_path.parent)


def test_a_stream_takes_long_tokens():
    """In linear time and memory: a vocabulary can have a token of a million characters."""
    base = bytes_to_unicode()
    vocabulary = {char: n for n, char in enumerate(base.values())} | {"x" * 1_000_000: 256}
    encoder = Encoder(vocabulary, [])
    stream = TextStream(encoder, ["y" * 10])
    assert [len(stream.push(256)), len(stream.push(256)), len(stream.finish())] == [1_000_000, 1_000_000, 0]
