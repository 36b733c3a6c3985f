"""Folders with added tokens, odd vocabularies and large files give the ids of transformers."""

import json
import shutil

import pytest
from support.hub_models import HUB, edit_json, read_json

from loading.tokenizer_files import load_hub_encoder
from loading.untrusted_files import CheckpointError
from loading.untrusted_files import read_json as read_untrusted_json
from utils import load_encoder_hparams_and_params

TEXTS = [
    "a<|endoftext|> b",
    "<|endoftext|>",
    "  <|endoftext|>  <|startoftext|> once upon a time [SEP]there<pad>",
    "the [MASK] , a[MASK]b [MASK]\n [MASK]",
    "naïve <|名前|> <user name>x\nle <|BOS|><|BOS|>",
]
MASK = {"content": "[MASK]", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False}
WORD = {"content": "le", "lstrip": False, "rstrip": True, "single_word": True, "normalized": True}

# Folder to copy, and the files to add to it.
FOLDERS = {
    "no files": ("float32", {}),
    "special_tokens_map": (
        "float32",
        {"special_tokens_map.json": {"bos_token": "<|BOS|>", "mask_token": MASK}},
    ),
    "added_tokens": ("float32", {"added_tokens.json": {"<user name>": 301, "<|名前|>": 302}}),
    "added_tokens_decoder": (
        "float32",
        {"tokenizer_config.json": {"added_tokens_decoder": {"301": MASK, "302": {"content": "[SEP]"}}}},
    ),
    "names": (
        "float32",
        {
            "tokenizer_config.json": {
                "bos_token": "<|startoftext|>",
                "pad_token": {"__type": "AddedToken", "content": "<pad>", "lstrip": True, "rstrip": True},
                "additional_special_tokens": ["[SEP]", "<|名前|>"],
            }
        },
    ),
    "a word of the vocabulary": ("float32", {"added_tokens.json": {"le": 299}}),
    "prefix space": ("float32", {"tokenizer_config.json": {"add_prefix_space": True}}),
    "prefix space, tokenizer.json": ("float16", {"tokenizer_config.json": {"add_prefix_space": True}}),
    "tokenizer.json": ("float16", {"tokenizer_config.json": {"pad_token": "<pad>"}}),
}


def make_folder(tmp_path, name):
    base, files = FOLDERS[name]
    folder = shutil.copytree(HUB / base, tmp_path / "model")
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_are_those_of_transformers(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    folder = make_folder(tmp_path, name)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_hub_encoder(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text)


def test_added_tokens_of_tokenizer_json_are_those_of_tokenizers(hub_copy):
    tokenizers = pytest.importorskip("tokenizers")
    folder = hub_copy("float16")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.add_special_tokens([tokenizers.AddedToken(**MASK), "<|startoftext|>", "[SEP]"])
    theirs.add_tokens([tokenizers.AddedToken(**WORD), "<user name>", "<|名前|>"])
    theirs.save(str(folder / "tokenizer.json"))
    ours = load_hub_encoder(folder)
    for text in TEXTS:
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False)


def test_added_tokens_are_text_where_they_are_not_allowed(hub_copy):
    ours = load_hub_encoder(hub_copy("float16"))
    assert ours.encode("a<|endoftext|>")[-1] == 300
    assert 300 not in ours.encode("a<|endoftext|>", allowed_special=())


def test_a_vocabulary_with_a_token_that_is_not_in_byte_characters(hub_copy):
    """Trainers put special tokens into the vocabulary as they are."""
    tokenizers = pytest.importorskip("tokenizers")
    folder = hub_copy("float32")
    text = "the <user name> 名前"
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        special_tokens=["<user name>", "名前"], initial_alphabet=alphabet
    )
    theirs.train_from_iterator(["the cat and the dog"] * 9, trainer)
    (folder / "vocab.json").unlink()
    theirs.save(str(folder / "tokenizer.json"))
    ours = load_hub_encoder(folder)
    assert ours.encode(text) == theirs.encode(text).ids
    assert ours.decode(ours.encode(text)) == text


def test_a_vocabulary_without_all_bytes_is_read(hub_copy):
    folder = hub_copy("float32")
    vocabulary = read_json(folder / "vocab.json")
    del vocabulary["Z"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    encoder, _, _ = load_encoder_hparams_and_params(str(folder))
    assert encoder.decode(encoder.encode("the cat")) == "the cat"
    with pytest.raises(ValueError, match="the vocabulary lacks a byte of the text ' Zoe'"):
        encoder.encode("the cat Zoe")


def test_only_a_text_with_an_id_beyond_the_vocabulary_of_the_model_is_an_error(hub_copy):
    folder = hub_copy("float32")
    (folder / "added_tokens.json").write_text('{"[PAD]": 301}')
    encoder, _, _ = load_encoder_hparams_and_params(str(folder))
    assert encoder.decode(encoder.encode("the cat")) == "the cat"
    with pytest.raises(
        ValueError, match=r"the text has the token '\[PAD\]', id 301, which the model does not"
    ):
        encoder.encode("the [PAD]")


@pytest.mark.parametrize("model", ["float32", "float16"])
def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(hub_copy, model):
    folder = hub_copy(model)
    expected, _, _ = load_encoder_hparams_and_params(str(folder))
    for path in folder.iterdir():
        if path.suffix in (".json", ".txt"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    encoder, _, _ = load_encoder_hparams_and_params(str(folder))
    assert (encoder.encoder, encoder.bpe_ranks) == (expected.encoder, expected.bpe_ranks)


# Large files.


def test_a_tokenizer_json_with_100_000_tokens_is_read(hub_copy):
    folder = hub_copy("float16")
    tokenizer = read_json(folder / "tokenizer.json")
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    letters = [char for char in vocabulary if len(char) == 1]
    for first in letters:
        for second in letters:
            if len(merges) < 100_000 and first + second not in vocabulary:
                vocabulary[first + second] = 301 + len(merges)
                merges.append([first, second])
    for n in range(100_000 - len(merges)):
        merges.append([letters[n % 256] + letters[n // 256], "Ġt"])
        vocabulary["".join(merges[-1])] = 301 + len(merges)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=2), encoding="utf-8")
    assert len(load_hub_encoder(folder).bpe_ranks) == len(merges) > 99_000


def test_a_tokenizer_config_with_20_000_added_tokens_is_read(hub_copy):
    folder = hub_copy("float16")
    decoder = {str(301 + n): {**MASK, "content": f"<extra_id_{n}>", "special": True} for n in range(20_000)}
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder=decoder)
    ours = load_hub_encoder(folder)
    assert ours.encode("<extra_id_19999><extra_id_1>") == [20_300, 302]


def test_json_that_would_need_much_more_memory_than_its_size_is_rejected(tmp_path):
    (tmp_path / "x.json").write_text('{"a": [' + ",".join(["[]"] * 100_000) + "]}")
    with pytest.raises(CheckpointError, match=r"lists and objects in .* characters: too many"):
        read_untrusted_json(tmp_path / "x.json")
