"""Read the files of a tokenizer, in OpenAI's or Hugging Face's formats, and build an `Encoder`.

    encoder.json, vocab.json    {token: id}
    vocab.bpe, merges.txt       a version line, then one merge per line: two tokens, the highest rank first
    tokenizer.json              all of it in one file, with settings

A token is written as one printable character per byte: `encoder.bytes_to_unicode`. loading/added_tokens.py
reads the tokens beside the BPE, such as <|endoftext|>.
"""

from encoder import END_OF_TEXT, AddedToken, Encoder
from loading.added_tokens import find_added_tokens, is_gpt2_class
from loading.model_config import MODEL_SIZES
from loading.untrusted_files import CheckpointError, error_context, read_json, read_text

OPENAI_TOKENIZER = ("encoder.json", "vocab.bpe")
HUB_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # transformers prefers the first

ADD_ENDS = ("Roberta", "Bart", "Longformer", "LED")  # classes that put a text between two special tokens

# Settings in tokenizer.json that change the tokens -> the values that `Encoder` supports.
SUPPORTED_TOKENIZER = {
    "normalizer": {"type": (None,)},
    "pre_tokenizer": {
        "type": ("ByteLevel",),
        "use_regex": (True, None),
        "add_prefix_space": (False, True, None),
    },
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
    files = choose_tokenizer_files(lambda file: (folder / file).is_file(), choices)
    return load_openai_encoder(folder) if files == OPENAI_TOKENIZER else load_hub_encoder(folder)


def load_openai_encoder(folder):
    """Load the tokenizer in OpenAI's layout. Raises as `get_encoder` does."""
    return make_encoder(*(folder / file for file in OPENAI_TOKENIZER))


def make_encoder(vocabulary_path, merges_path):
    """Build an Encoder from two files. Its only added token is <|endoftext|>. Raises as `get_encoder`."""
    vocabulary, merges = read_vocabulary(vocabulary_path), read_merges(merges_path)
    added_tokens = []
    if END_OF_TEXT in vocabulary:
        added_tokens = [AddedToken(END_OF_TEXT, vocabulary[END_OF_TEXT])]
    with error_context(f"{vocabulary_path} and {merges_path.name} do not match"):
        return Encoder(vocabulary, merges, added_tokens)


def load_hub_encoder(folder):
    """Load the tokenizer in Hugging Face's layout. Raises as `get_encoder` does.

    It recognizes all its added tokens in a text, but not in OpenAI's sizes, as in OpenAI's code.
    """
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    tokenizer, settings, special_map, added = (read_optional(folder / name) for name in names)
    if settings.get("add_bos_token"):
        raise CheckpointError(f"{folder}: add_bos_token of tokenizer_config.json is not supported")
    tokenizer_class = str(settings.get("tokenizer_class"))
    if tokenizer_class.startswith(ADD_ENDS):
        raise CheckpointError(f"{folder}: {tokenizer_class:.80} adds tokens to a text; it is not supported")
    files = choose_tokenizer_files(lambda file: (folder / file).is_file(), HUB_TOKENIZERS)
    if files == ("tokenizer.json",):
        with error_context(folder / "tokenizer.json"):
            vocabulary, merges = parse_tokenizer(tokenizer)
    else:
        tokenizer = {}
        vocabulary, merges = read_vocabulary(folder / "vocab.json"), read_merges(folder / "merges.txt")
    pre_tokenizer = tokenizer.get("pre_tokenizer") or {}
    add_prefix_space = pre_tokenizer.get("add_prefix_space", False)
    if is_gpt2_class(settings) or not tokenizer:
        add_prefix_space = settings.get("add_prefix_space", add_prefix_space)
    with error_context(f"{folder}: {' and '.join(files)}"):
        added_tokens = find_added_tokens(vocabulary, tokenizer, settings, special_map, added)
        encoder = Encoder(vocabulary, merges, added_tokens, bool(add_prefix_space))
    if folder.name not in MODEL_SIZES and not settings.get("split_special_tokens"):
        encoder.allowed_special = frozenset(encoder.added_tokens)
    return encoder


def read_optional(path):
    """Read a JSON file -> dict, {} if the file does not exist."""
    return read_json(path) if path.is_file() else {}


def read_vocabulary(path):
    """Read encoder.json, vocab.json or added_tokens.json -> {token: id}."""
    vocabulary = read_json(path)
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
    lines = read_text(path).split("\n")
    merges = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in merges):
        raise CheckpointError(f"{path}: a line is not a pair of tokens")
    return merges


def parse_tokenizer(tokenizer):
    """The contents of tokenizer.json -> ({token: id}, list of pairs of tokens).

    Raises CheckpointError if the contents are malformed, or a setting is not in SUPPORTED_TOKENIZER.
    """
    if kind := other_kind(tokenizer):
        raise CheckpointError(f"this is a {kind} tokenizer; only byte-level BPE is supported")
    for part, settings in SUPPORTED_TOKENIZER.items():
        values = tokenizer.get(part) or {}
        for name, supported in settings.items():
            if not isinstance(values, dict) or values.get(name) not in supported:
                value = values.get(name) if isinstance(values, dict) else values
                raise CheckpointError(
                    f"the {part} is not GPT-2's: {name} {value!r:.80} is not supported, only {supported}"
                )
    model = tokenizer.get("model") or {}
    vocabulary, merges = model.get("vocab"), model.get("merges")
    check_vocabulary(vocabulary)
    try:
        merges = [tuple(pair.split(" ") if type(pair) is str else pair) for pair in merges]
        if not all(type(first) is type(second) is str and first and second for first, second in merges):
            raise TypeError
    except (TypeError, ValueError):
        raise CheckpointError("the merges are not a list of pairs of tokens") from None
    return vocabulary, merges


def other_kind(tokenizer):
    """Name the kind of a tokenizer.json that is no byte-level BPE, or return None."""
    model, pre_tokenizer = (tokenizer.get(part) for part in ("model", "pre_tokenizer"))
    model = model if isinstance(model, dict) else {}
    if model.get("type") in ("WordPiece", "WordLevel"):
        return model["type"]
    if model.get("type") == "Unigram" or model.get("byte_fallback") or "Metaspace" in str(pre_tokenizer):
        return "SentencePiece"
    return None
