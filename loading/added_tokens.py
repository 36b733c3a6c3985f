"""Find the added tokens of a tokenizer in Hugging Face's files. They mark the structure of a text.

    tokenizer.json             {"added_tokens": [{"id", "content", flags}, ...]}
    tokenizer_config.json      {"added_tokens_decoder": {id: {"content", flags}}, "bos_token": ..., ...}
    special_tokens_map.json    {"bos_token": "<s>", "pad_token": {"content", flags}, ...}, in older folders
    added_tokens.json          {text: id}

The flags are lstrip, rstrip, single_word and normalized: `encoder.AddedToken`. As in transformers, a token
that only has a name gets the next free id. For GPT2Tokenizer, bos_token, eos_token and unk_token default to
<|endoftext|>. The last two files do not count beside an added_tokens_decoder.
"""

from encoder import END_OF_TEXT, AddedToken
from loading.untrusted_files import CheckpointError

DEFAULT_NAMES = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
LISTS = ("additional_special_tokens", "extra_special_tokens")
FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def find_added_tokens(vocabulary, tokenizer, settings, special_map, added):
    """Collect the added tokens from the contents of the files -> list of AddedTokens.

    Args:
        vocabulary: {token: id}.
        tokenizer, settings, special_map, added: the contents of tokenizer.json, tokenizer_config.json,
            special_tokens_map.json and added_tokens.json. A file that does not exist is {}.

    Raises:
        CheckpointError: an entry is malformed.
    """
    decoder = settings.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise CheckpointError("added_tokens_decoder is not a JSON object")
    if decoder:
        special_map, added = {}, {}
    numbered = [({"content": text}, token_id) for text, token_id in added.items()]
    numbered += [(entry, id_of(entry)) for entry in as_list(tokenizer.get("added_tokens"), "added_tokens")]
    numbered += [(entry, parse_id(digits)) for digits, entry in decoder.items()]
    tokens = {}
    for entry, token_id in numbered:
        token = parse_token(entry, token_id)
        tokens[token.text] = token._replace(token_id=vocabulary.get(token.text, token_id))
    free_id = 1 + max([*vocabulary.values(), *(token.token_id for token in tokens.values())], default=-1)
    names = DEFAULT_NAMES if is_gpt2_class(settings) else {}
    for entry in named_tokens(names | settings | special_map):
        token = parse_token(entry, free_id)
        if token.text in vocabulary:
            token = token._replace(token_id=vocabulary[token.text])
        elif token.text not in tokens:
            free_id += 1
        tokens.setdefault(token.text, token)
    return list(tokens.values())


def is_gpt2_class(settings):
    """Whether tokenizer_config.json names GPT-2's class of tokenizers, or none."""
    return settings.get("tokenizer_class") in (None, "GPT2Tokenizer", "GPT2TokenizerFast")


def named_tokens(settings):
    """The tokens of tokenizer_config.json or special_tokens_map.json that have a name, such as bos_token."""
    entries = [settings[name] for name in NAMES if settings.get(name) is not None]
    for name in LISTS:
        values = settings.get(name)
        entries += as_list(list(values.values()) if isinstance(values, dict) else values, name)
    return entries


def parse_token(entry, token_id):
    """A text, or an object with "content" and flags -> AddedToken."""
    entry = {"content": entry, "special": True} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        raise CheckpointError(f"the added token {entry!r} is not a text")
    text = entry["content"]
    text.encode("utf-8")  # raises a ValueError for a lone surrogate
    if type(token_id) is not int or token_id < 0:
        raise CheckpointError(f"the id of the added token {text!r} is not a whole number of at least 0")
    flags = {name: entry.get(name, False) for name in FLAGS}
    flags["normalized"] = entry.get("normalized", not entry.get("special", False))  # as in tokenizers
    if not all(type(flag) is bool for flag in flags.values()):
        raise CheckpointError(f"the flags of the added token {text!r} are not true or false")
    return AddedToken(text, token_id, **flags)


def id_of(entry):
    """The "id" of an entry in tokenizer.json, or None."""
    return entry.get("id") if isinstance(entry, dict) else None


def parse_id(digits):
    """The id that is written as a name of a JSON object, or None."""
    return int(digits) if digits.isdecimal() and len(digits) < 10 else None


def as_list(value, name):
    """Return a list from a JSON file, or [] for null. Raises CheckpointError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise CheckpointError(f"{name} is not a list")
    return value
