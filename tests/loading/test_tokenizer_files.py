"""All formats of a tokenizer give the same `Encoder`; damaged and unsupported files are rejected."""

import json
import re
import shutil

import pytest
from support.hub_models import read_json

from encoder import get_encoder
from loading.untrusted_files import CheckpointError
from utils import DEMO_DIR, load_encoder_hparams_and_params


def test_all_formats_give_the_same_tokenizer(tmp_path):
    demo = get_encoder(DEMO_DIR.name, DEMO_DIR.parent)
    shutil.copy(DEMO_DIR / "encoder.json", tmp_path / "vocab.json")
    shutil.copy(DEMO_DIR / "vocab.bpe", tmp_path / "merges.txt")
    tokenizers = pytest.importorskip("tokenizers")
    saved = tokenizers.ByteLevelBPETokenizer.from_file(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
    )
    renamed = get_encoder(tmp_path.name, tmp_path.parent)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "merges.txt").unlink()
    saved.save(str(tmp_path / "tokenizer.json"))
    for other in (renamed, get_encoder(tmp_path.name, tmp_path.parent)):
        assert (other.encoder, other.bpe_ranks) == (demo.encoder, demo.bpe_ranks)


# encoder.json and vocab.bpe.


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("encoder.json", b"", "encoder.json: "),
        ("encoder.json", b"<html>", "encoder.json: "),
        ("encoder.json", b"\xff\xfe", "encoder.json: "),
        ("encoder.json", b"[" * 100_000, "encoder.json: "),
        ("encoder.json", b"[]", "encoder.json: not a JSON object"),
        ("encoder.json", b'{"a": "b"}', "encoder.json: the vocabulary has ids that are not whole numbers"),
        ("encoder.json", b'{"a": 1}', r"encoder\.json and vocab\.bpe do not match: .* have no id"),
        ("vocab.bpe", b"\xff\xfe", "vocab.bpe: "),
        ("vocab.bpe", b"#version: 0.2\na b c\n", "vocab.bpe: a line is not a pair"),
        ("vocab.bpe", b"#version: 0.2\nqq qq\n", r"encoder\.json and vocab\.bpe do not match: .* have no id"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, content, message):
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copy(DEMO_DIR / name, tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        get_encoder(tmp_path.name, tmp_path.parent)


@pytest.mark.parametrize("file", ["encoder.json", "vocab.bpe"])
def test_a_missing_file_is_named(tmp_path, file):
    for name in {"encoder.json", "vocab.bpe"} - {file}:
        shutil.copy(DEMO_DIR / name, tmp_path)
    with pytest.raises(FileNotFoundError, match=file):
        get_encoder(tmp_path.name, tmp_path.parent)


# tokenizer.json.


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["model"], None, "the vocabulary is not a JSON object"),
        (["model", "vocab"], [], "the vocabulary is not a JSON object"),
        (["model", "vocab", "!"], -1, "the vocabulary has ids that are not whole numbers"),
        (["model", "merges"], None, "the merges are not a list of pairs of tokens"),
        (["model", "merges", 0], "one", "the merges are not a list of pairs of tokens"),
        (["model", "merges", 0], ["a", 1], "the merges are not a list of pairs of tokens"),
        (["model", "merges", 0], ["a", ""], "the merges are not a list of pairs of tokens"),
        (["model", "merges", 0], ["▁", "!"], "1 tokens have no id, such as '▁!'"),
        (["added_tokens"], {}, "added_tokens is not a list"),
        (["added_tokens"], [{"id": 1}], "the added token {'id': 1} is not a text"),
        (["added_tokens"], ["x"], "the id of the added token 'x' is not a whole number of at least 0"),
        (["added_tokens"], [{"id": 3, "content": "\ud800"}], "surrogates not allowed"),
        (["added_tokens"], [{"id": "3", "content": "x"}], "the id of the added token 'x' is not a whole"),
        (["added_tokens"], [{"id": 3, "content": "x", "lstrip": 1}], "the flags of the added token 'x' are"),
    ],
)
def test_a_malformed_tokenizer_json_is_rejected(hub_copy, place, value, message):
    check_rejected(hub_copy("float16"), place, value, message)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["model", "type"], "Unigram", "this is a SentencePiece tokenizer; only byte-level BPE is supported"),
        (["model", "type"], "WordPiece", "this is a WordPiece tokenizer; only byte-level BPE is supported"),
        (["pre_tokenizer", "type"], "Metaspace", "this is a SentencePiece tokenizer"),
        (["model", "byte_fallback"], True, "this is a SentencePiece tokenizer"),
        (["model", "type"], "Other", "the model is not GPT-2's: type 'Other' is not supported"),
        (["model", "ignore_merges"], True, "ignore_merges True is not supported"),
        (["model", "dropout"], 0.1, "dropout 0.1 is not supported"),
        (["model", "continuing_subword_prefix"], "##", "continuing_subword_prefix '##' is not supported"),
        (["pre_tokenizer"], {"type": "Whitespace"}, "the pre_tokenizer is not GPT-2's"),
        (["pre_tokenizer", "use_regex"], False, "the pre_tokenizer is not GPT-2's"),
        (["post_processor"], {"type": "RobertaProcessing"}, "the post_processor is not GPT-2's"),
        (["post_processor", "special_tokens"], {"<s>": {}}, "special_tokens {'<s>': {}} is not supported"),
        (
            ["normalizer"],
            {"type": "Lowercase"},
            "the normalizer is not GPT-2's: type 'Lowercase' is not supported",
        ),
    ],
)
def test_an_unsupported_tokenizer_json_is_rejected(hub_copy, place, value, message):
    check_rejected(hub_copy("float16"), place, value, message)


def check_rejected(folder, place, value, message):
    """Put the value into tokenizer.json at the place, a path of keys, and load the model."""
    tokenizer = read_json(folder / "tokenizer.json")
    tree = tokenizer
    for name in place[:-1]:
        tree = tree[name]
    tree[place[-1]] = value
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(CheckpointError, match=re.escape(message)):
        load_encoder_hparams_and_params(str(folder))
