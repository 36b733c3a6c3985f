"""Read the files of a tokenizer, in OpenAI's or Hugging Face's formats, and build an `Encoder`.

    encoder.json, vocab.json    {token: id}
    vocab.bpe, merges.txt       a version line, then one merge per line: two tokens, the highest rank first
    added_tokens.json           {text: id}: more tokens, beside vocab.json
    tokenizer.json              all of it in one file, with settings

A token is written as one printable character per byte: `encoder.bytes_to_unicode`.
"""

from encoder import Encoder, bytes_to_unicode
from loading.untrusted_files import CheckpointError, error_context, read_json, read_text

MAX_VOCABULARY_SIZE = 2**23  # bytes; a tokenizer.json with 50,257 tokens has half of it

OPENAI_TOKENIZER = ("encoder.json", "vocab.bpe")
HUB_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # transformers prefers the first

# Settings in tokenizer.json that change the tokens -> the values that `Encoder` supports.
SUPPORTED_TOKENIZER = {
    "normalizer": {"type": (None,)},
    "pre_tokenizer": {"type": ("ByteLevel",), "use_regex": (True, None), "add_prefix_space": (False, None)},
    "model": {
        "type": ("BPE", None),
        "dropout": (None, 0.0),
        "continuing_subword_prefix": ("", None),
        "end_of_word_suffix": ("", None),
        "byte_fallback": (False, None),
        "ignore_merges": (False, None),
    },
    "post_processor": {"type": (None, "ByteLevel", "TemplateProcessing"), "special_tokens": ({}, None)},
}


def choose_tokenizer_files(has_file, choices):
    """Choose the files to read: the first complete choice, else the first incomplete one, else the last.

    Args:
        has_file: a function from a file name to whether the file exists.
        choices: tuples of file names.
    """
    for exists in (all, any):
        for files in choices:
            if exists(map(has_file, files)):
                return files
    return choices[-1]


def find_and_load_encoder(folder):
    """Load the tokenizer in a folder, in any of the formats. Raises as `get_encoder` does."""
    choices = (OPENAI_TOKENIZER, *HUB_TOKENIZERS)
    return read_encoder(folder, choose_tokenizer_files(lambda file: (folder / file).is_file(), choices))


def read_encoder(folder, files):
    """Build the Encoder from one choice of files. Raises as `get_encoder` does."""
    if files == ("tokenizer.json",):
        tokenizer = read_json(folder / "tokenizer.json", MAX_VOCABULARY_SIZE)
        with error_context(folder / "tokenizer.json"):
            return Encoder(*parse_tokenizer(tokenizer))
    added = folder / "added_tokens.json"
    vocabulary, merges = files
    return make_encoder(folder / vocabulary, folder / merges, added if added.is_file() else None)


def make_encoder(vocabulary_path, merges_path, added_path=None):
    """Build the Encoder from a vocabulary, merges and optional added tokens. Raises as `get_encoder`."""
    vocabulary, merges = read_vocabulary(vocabulary_path), read_merges(merges_path)
    added = {} if added_path is None else read_vocabulary(added_path)
    with error_context(f"{vocabulary_path} and {merges_path.name} do not match"):
        return Encoder(vocabulary | {to_token(text): token_id for text, token_id in added.items()}, merges)


def read_vocabulary(path):
    """Read encoder.json, vocab.json or added_tokens.json -> {token: id}."""
    vocabulary = read_json(path, MAX_VOCABULARY_SIZE)
    with error_context(path):
        check_vocabulary(vocabulary)
    return vocabulary


def check_vocabulary(vocabulary):
    """Raise CheckpointError unless the value from a JSON file is {token: id}."""
    if type(vocabulary) is not dict:
        raise CheckpointError("the vocabulary is not a JSON object")
    if not all(type(token_id) is int and token_id >= 0 for token_id in vocabulary.values()):
        raise CheckpointError("the vocabulary has ids that are not whole numbers of at least 0")


def read_merges(path):
    """Read vocab.bpe or merges.txt -> list of pairs of tokens."""
    lines = read_text(path, MAX_VOCABULARY_SIZE).split("\n")
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in merges):
        raise CheckpointError(f"{path}: a line is not a pair of tokens")
    return merges


def parse_tokenizer(tokenizer):
    """The contents of tokenizer.json -> ({token: id}, list of pairs of tokens).

    Raises CheckpointError if the contents are malformed, or a setting is not in SUPPORTED_TOKENIZER.
    """
    for part, settings in SUPPORTED_TOKENIZER.items():
        values = tokenizer.get(part) or {}
        for name, supported in settings.items():
            if not isinstance(values, dict) or values.get(name) not in supported:
                raise CheckpointError(f"the {part} is not GPT-2's: only {name} {supported[0]!r} is supported")
    model, added = tokenizer.get("model") or {}, tokenizer.get("added_tokens") or []
    vocabulary, merges = model.get("vocab"), model.get("merges")
    check_vocabulary(vocabulary)
    try:
        merges = [tuple(pair.split(" ") if type(pair) is str else pair) for pair in merges]
        if not all(type(first) is type(second) is str and first and second for first, second in merges):
            raise TypeError
        vocabulary.update({to_token(token["content"]): token["id"] for token in added})
    except (TypeError, ValueError, LookupError, AttributeError):
        raise CheckpointError("merges or added_tokens are malformed") from None
    check_vocabulary(vocabulary)
    return vocabulary, merges


def to_token(text):
    """Write a text as a token: one printable character per byte."""
    byte_encoder = bytes_to_unicode()
    return "".join(byte_encoder[byte] for byte in text.encode("utf-8"))
