"""The tokenizer gives the ids of Hugging Face's tokenizers, with the vocabularies of GPT-2 and the demo."""

import json
import sys

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import DATA, ROOT

import encoder
from encoder import AddedToken, Encoder, bytes_to_unicode, get_encoder
from utils import DEMO_DIR

FOLDERS = {"gpt2": DATA / "gpt2", "demo": DEMO_DIR}
HARD_TEXTS = json.loads((DATA / "hard_texts.json").read_text(encoding="utf-8"))


def reference_tokenizer(folder):
    vocab, merges = str(folder / "encoder.json"), str(folder / "vocab.bpe")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(vocab, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


OURS = {name: get_encoder(folder.name, folder.parent) for name, folder in FOLDERS.items()}
THEIRS = {name: reference_tokenizer(folder) for name, folder in FOLDERS.items()}
GPT2 = OURS["gpt2"]


def check(text):
    """Our ids equal those of tokenizers, and decode to the text."""
    for name, ours in OURS.items():
        ids = ours.encode(text)
        assert ids == THEIRS[name].encode(text).ids
        assert ours.decode(ids) == text


# Without unassigned characters: they depend on the version of Unicode.
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


# Encode.


@given(texts)
@settings(max_examples=500)
def test_any_text_encodes_as_in_tokenizers_and_decodes_to_itself(text):
    check(text)


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_hard_texts(text):
    check(text)


@pytest.mark.parametrize("letters", ["a", "ab", "abcdefghijklmnopqrstuvwxyz", "é", "的一是不了人我在有他"])
def test_a_long_text_without_spaces(letters):
    """An algorithm with a quadratic number of steps would take hours."""
    check("".join(np.random.default_rng(0).choice(list(letters), size=100_000)))


def test_a_long_text():
    check((ROOT / "gpt2.py").read_text(encoding="utf-8") * 5)


def test_known_ids():
    assert GPT2.encode("Not all heroes wear capes.") == [3673, 477, 10281, 5806, 1451, 274, 13]
    assert GPT2.encode("<|endoftext|>") == [27, 91, 437, 1659, 5239, 91, 29]
    assert GPT2.decode([50256]) == "<|endoftext|>"
    assert OURS["demo"].decode([4095]) == "<|endoftext|>"


def test_merges_apply_by_rank_and_from_left_to_right():
    """Worked by hand. In "abab aab", no pair (b, c) exists, so each (a, b) is merged, then (ab, ab)."""
    merges = [("b", "c"), ("a", "b"), ("ab", "ab")]
    vocabulary = [*bytes_to_unicode().values(), *map("".join, merges)]
    ours = Encoder({token: n for n, token in enumerate(vocabulary)}, merges)
    assert [vocabulary[n] for n in ours.encode("abab aab")] == ["abab", "Ġ", "a", "ab"]
    assert [vocabulary[n] for n in ours.encode("abcb")] == ["a", "bc", "b"]


@pytest.mark.parametrize("text", ["\ud800", "fine\udfffnot", "\udc80"])
def test_a_lone_surrogate_is_rejected(text):
    with pytest.raises(ValueError, match=r"lone surrogate '\\ud[89a-f]"):
        GPT2.encode(text)


def test_the_cache_is_bounded_and_does_not_change_the_ids(monkeypatch):
    monkeypatch.setattr(encoder, "CACHE_SIZE", 10)
    small = get_encoder("gpt2", DATA)
    for text in HARD_TEXTS:
        assert small.encode(text) == GPT2.encode(text)
    assert small.bpe.cache_info().currsize == small.bpe.cache_info().maxsize == 10


# Decode.


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_valid_text_decodes_to_itself(text):
    for ours in OURS.values():
        assert ours.decode(ours.encode(text)) == text


def test_every_character_decodes_to_itself():
    for start in range(0, sys.maxunicode, 0x40):
        if not 0xD800 <= start < 0xE000:  # the surrogates
            text = "".join(map(chr, range(start, start + 0x40)))
            assert GPT2.decode(GPT2.encode(text)) == text


@given(st.lists(st.integers(0, 50256)))
def test_any_ids_decode_to_their_bytes(ids):
    tokens = [GPT2.decoder[token_id] for token_id in ids]
    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    expected = b"".join(bytes(byte_of[char] for char in token) for token in tokens).decode("utf-8", "replace")
    assert GPT2.decode(ids) == expected


def test_half_a_character_decodes_to_a_replacement_character():
    ids = GPT2.encode("🏽")
    assert len(ids) > 1
    assert GPT2.decode(ids[:1]) == "\ufffd"


def test_numpy_ids_are_accepted():
    assert GPT2.decode(np.array([3673, 477])) == "Not all"


@pytest.mark.parametrize("unknown", [50257, -1, 10**9, "a", None])
def test_an_unknown_id_is_rejected(unknown):
    with pytest.raises(ValueError, match="not in the vocabulary of 50257 tokens"):
        GPT2.decode([1, unknown])


# The vocabulary.


def test_gpt2_has_50257_tokens_and_50000_merges():
    assert len(GPT2.encoder) == 50257
    assert len(GPT2.bpe_ranks) == 50000


def test_the_188_printable_bytes_stand_for_themselves():
    table = bytes_to_unicode()
    assert sum(ord(char) == byte for byte, char in table.items()) == 188
    assert sorted(char for byte, char in table.items() if ord(char) != byte) == [
        chr(256 + n) for n in range(68)
    ]
    assert table[ord(" ")] == "Ġ"
    assert table[ord("\n")] == "Ċ"


def test_a_merge_with_a_character_that_stands_for_no_byte_is_rejected():
    vocabulary = {char: byte for byte, char in bytes_to_unicode().items()}
    with pytest.raises(ValueError, match="merges have characters that stand for no byte, such as '▁'"):
        Encoder(vocabulary | {"▁a": 256}, [("▁", "a")])


def test_a_byte_without_an_id_is_an_error_of_the_text():
    vocabulary = {char: byte for byte, char in bytes_to_unicode().items() if char != "x"}
    ours = Encoder(vocabulary, [])
    assert ours.encode("abc") == [97, 98, 99]
    with pytest.raises(ValueError, match="the vocabulary lacks a byte of the text 'axc'"):
        ours.encode("axc")


def test_a_token_that_the_model_does_not_know_is_an_error_of_the_text():
    ours = get_encoder("gpt2", DATA)
    ours.n_vocab = 50256
    assert ours.encode("<|endoftext|>") == GPT2.encode("<|endoftext|>")
    with pytest.raises(ValueError, match=r"the token '<\|endoftext\|>', id 50256, which the model does not"):
        ours.encode("a<|endoftext|>", allowed_special="all")


# Added tokens.


def test_added_tokens_are_those_of_tiktoken():
    """The ids of tiktoken's gpt2, from its documentation and from OpenAI's vocabulary."""
    text = "<|endoftext|>a<|endoftext|>"
    assert GPT2.encode(text, allowed_special={"<|endoftext|>"}) == [50256, 64, 50256]
    assert GPT2.encode(text, allowed_special="all") == [50256, 64, 50256]
    assert GPT2.encode(text, allowed_special=set()) == GPT2.encode(text)
    assert GPT2.encode(text)[:7] == [27, 91, 437, 1659, 5239, 91, 29]
    with pytest.raises(ValueError, match="allowed_special must be"):
        GPT2.encode(text, allowed_special="<|endoftext|>")


# Without white space at the ends: it could belong to this token and, by rstrip, to the one before.
added_texts = st.text("[]MS <|é你", min_size=1, max_size=4).filter(lambda text: text.strip() == text)
flags = st.fixed_dictionaries(
    {name: st.booleans() for name in ("lstrip", "rstrip", "single_word", "normalized")}
)


@given(
    st.dictionaries(added_texts, flags, max_size=6),
    st.lists(st.one_of(added_texts, st.sampled_from([" ", "a", "\n", " b", "  "])), max_size=12).map("".join),
    st.booleans(),
)
@settings(max_examples=500)
def test_any_added_tokens_give_the_ids_of_tokenizers(added, text, add_prefix_space):
    folder = FOLDERS["demo"]
    theirs = reference_tokenizer(folder)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    theirs.add_tokens([tokenizers.AddedToken(content, **values) for content, values in added.items()])
    tokens = [AddedToken(content, theirs.token_to_id(content), **values) for content, values in added.items()]
    demo = OURS["demo"]
    ours = Encoder(demo.encoder, list(demo.bpe_ranks), tokens, add_prefix_space)
    allowed = set(added)
    assert ours.encode(text, allowed_special=allowed) == theirs.encode(text).ids
