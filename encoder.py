"""Text to token ids and back: GPT-2's byte-level BPE (byte-pair encoding).

    "Not all capes"                 text
 -> ["Not", " all", " capes"]       pre-tokens, cut by the PATTERN
 -> ["Not", "Ġall", "Ġcapes"]       each byte of their UTF-8 as one printable character
 -> ["Not", "Ġall", "Ġcap", "es"]   neighbours merged, over and over, while vocab.bpe lists the pair
 -> [3673, 477, 1451, 274]          looked up in encoder.json

Every byte has a token of its own, so every text has an encoding and decode(encode(text)) == text.
Scheme and files: OpenAI's GPT-2 (section 2.2 of "Language Models are Unsupervised Multitask Learners", 2019).
"""

import codecs
import functools
import heapq
import itertools
from pathlib import Path

import regex

from files import CheckpointError, faults_of, read_json, read_text

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"  # the token between two texts in GPT-2's training
CACHE_SIZE = 2**16  # pre-tokens whose ids are remembered
MAX_VOCABULARY_SIZE = 2**23  # bytes; a tokenizer.json of 50,257 tokens has half of it

# The files that a tokenizer is in. Where Hugging Face's are there in both ways, transformers takes the first.
OPENAI_TOKENIZER = ("encoder.json", "vocab.bpe")
HUB_TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))

# What in a tokenizer.json has a say in what the tokens are -> the values with which it is what Encoder does.
SUPPORTED = {
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


class Encoder:
    """A byte-level BPE tokenizer.

    Args:
        encoder: {token: id}. A token is written as one printable character per byte: `bytes_to_unicode`.
        bpe_merges: pairs of tokens, the ones to be merged first come first.

    Raises:
        ValueError: a byte or a merged pair has no id, or a token has a character that stands for no byte.
    """

    def __init__(self, encoder, bpe_merges):
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {char: byte for byte, char in self.byte_encoder.items()}
        self.encoder = encoder
        self.decoder = {id: token for token, id in encoder.items()}
        self.end_of_text = encoder.get(END_OF_TEXT)  # its id
        self.bpe_ranks = {pair: rank for rank, pair in enumerate(bpe_merges)}
        self.bpe = functools.lru_cache(CACHE_SIZE)(self.bpe)

        tokens = itertools.chain(self.byte_encoder.values(), map("".join, bpe_merges))
        missing = [token for token in tokens if token not in encoder]
        if missing:
            raise ValueError(f"there is no id for {len(missing)} tokens, such as {min(missing)!r}")
        unknown = set("".join(encoder)) - self.byte_decoder.keys()
        if unknown:
            raise ValueError(f"tokens have characters that stand for no byte, such as {min(unknown)!r}")

    def encode(self, text):
        """Text -> list of ids. There are no special tokens: the text "<|endoftext|>" is spelt out.

        Raises:
            ValueError: the text has a lone surrogate, half of a character, and so no UTF-8.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            bad = text[error.start]
            raise ValueError(
                f"the text is not valid Unicode: lone surrogate {bad!r} at {error.start}"
            ) from None
        return [id for pretoken in PATTERN.findall(text) for id in self.bpe(pretoken)]

    def decode(self, ids):
        """Ids -> text. Bytes that are not valid UTF-8, such as half a character, become U+FFFD.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids):
        """Ids -> the bytes that they stand for: UTF-8, but a token may begin or end within a character.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        try:
            chars = "".join([self.decoder[id] for id in ids])
        except KeyError as error:
            raise ValueError(f"id {error} is not in the vocabulary of {len(self.decoder)} tokens") from None
        return bytes(self.byte_decoder[char] for char in chars)

    def bpe(self, pretoken):
        """One pre-token -> its ids: merge the neighbouring pair of lowest rank, until no pair has one.

        Of equal pairs the leftmost comes first. A heap has the next pair on top, and a linked list (`left`,
        `right`) says what a token's neighbours are: n log n steps, even for n letters without a space.
        """
        rank_of = self.bpe_ranks.get
        tokens = [self.byte_encoder[byte] for byte in pretoken.encode("utf-8")]
        left, right = [*range(-1, len(tokens))], [*range(1, len(tokens) + 1), -1]
        heap = [
            (rank, n)
            for n, pair in enumerate(itertools.pairwise(tokens))
            if (rank := rank_of(pair)) is not None
        ]
        heapq.heapify(heap)
        tokens.append(
            ""
        )  # makes no pair: beyond the end, and in place of a token that is merged into another
        while heap:
            rank, n = heapq.heappop(heap)
            after = right[n]
            if rank_of((tokens[n], tokens[after])) != rank:
                continue  # one of the two has been merged with another
            tokens[n], tokens[after] = tokens[n] + tokens[after], ""
            before, after = left[n], right[after]
            right[n], left[after] = after, n
            if (rank := rank_of((tokens[before], tokens[n]))) is not None:
                heapq.heappush(heap, (rank, before))
            if (rank := rank_of((tokens[n], tokens[after]))) is not None:
                heapq.heappush(heap, (rank, n))
        return tuple([self.encoder[token] for token in tokens if token])


class TextStream:
    """Ids in, one by one, and text out, as soon as it is certain.

    Text is held back while it is half a character, or may be the beginning of a stop string. With the tokens
    "a", " st", "op", " b" and the stop string " stop", `push` returns "a", "", "", and then the text has
    stopped, as if it had ended before the stop string. Of several stop strings the one complete first counts.

    Args:
        encoder: the `Encoder` that knows the tokens.
        stop: stop strings, none of them empty.
    """

    def __init__(self, encoder, stop=()):
        self.encoder = encoder
        self.stop = tuple(stop)
        self.characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.held = ""
        self.has_stopped = False

    def push(self, id):
        """Take the next token -> the text that is certain now, which may be empty."""
        return self.release(self.characters.decode(self.encoder.decode_bytes([id])))

    def finish(self):
        """There are no more tokens -> the rest of the text."""
        return self.release(self.characters.decode(b"", final=True)) + self.held

    def release(self, text):
        """Add to the text held back -> the part that cannot belong to a stop string."""
        if self.has_stopped:
            return ""
        text = self.held + text
        found = [(start + len(stop), start) for stop in self.stop if (start := text.find(stop)) >= 0]
        if found:
            self.has_stopped, self.held = True, ""
            _, start = min(found)
            return text[:start]
        longest = max(map(len, self.stop), default=1) - 1  # of the beginnings of stop strings
        tails = [text[n:] for n in range(max(0, len(text) - longest), len(text) + 1)]
        self.held = next((tail for tail in tails if any(stop.startswith(tail) for stop in self.stop)), "")
        return text[: len(text) - len(self.held)]


@functools.cache
def bytes_to_unicode():
    """The printable character that stands for each byte in the vocabulary's files -> {byte: character}.

    The vocabulary's files are text, where a space or a line end cannot stand for itself. The 188 bytes that
    are printable in Latin-1 do; the other 68 become chr(256), chr(257) and so on: a space is "Ġ".
    """
    printable = [byte for first, last in ("!~", "¡¬", "®ÿ") for byte in range(ord(first), ord(last) + 1)]
    others = sorted(set(range(256)) - set(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def get_encoder(model_name, models_dir):
    """The Encoder of the model in the folder models_dir/model_name, in OpenAI's layout or in Hugging Face's.

    Raises:
        FileNotFoundError: one of the files is not there.
        CheckpointError: they are not a tokenizer's; the message names the file.
    """
    folder = Path(models_dir) / model_name
    files = tokenizer_files(lambda file: (folder / file).is_file(), (OPENAI_TOKENIZER, *HUB_TOKENIZERS))
    return read_encoder(folder, files)


def tokenizer_files(has, choices):
    """The first of `choices` of which all files are there; or some; or else the last.

    Args:
        has: a function that says whether there is a file of a name.
    """
    complete = [files for files in choices if all(map(has, files))]
    begun = [files for files in choices if any(map(has, files))]
    return [*complete, *begun, choices[-1]][0]


def read_encoder(folder, files):
    """The Encoder from one of the choices of files. Raises as `get_encoder` does."""
    if files == ("tokenizer.json",):
        tokenizer = read_json(folder / "tokenizer.json", MAX_VOCABULARY_SIZE)
        with faults_of(folder / "tokenizer.json"):
            return Encoder(*parse_tokenizer(tokenizer))
    added = folder / "added_tokens.json"
    vocabulary, merges = files
    return make_encoder(folder / vocabulary, folder / merges, added if added.is_file() else None)


def make_encoder(vocabulary_path, merges_path, added_path=None):
    """The Encoder that two files make, and a third with more tokens. Raises as `get_encoder` does."""
    vocabulary, merges = read_vocabulary(vocabulary_path), read_merges(merges_path)
    added = {} if added_path is None else read_vocabulary(added_path)
    with faults_of(f"{vocabulary_path} and {merges_path.name} do not fit"):
        return Encoder(vocabulary | {spell(token): id for token, id in added.items()}, merges)


def read_vocabulary(path):
    """encoder.json, or vocab.json: a JSON object -> {token: id}."""
    vocabulary = read_json(path, MAX_VOCABULARY_SIZE)
    with faults_of(path):
        check_vocabulary(vocabulary)
    return vocabulary


def check_vocabulary(vocabulary):
    if type(vocabulary) is not dict or not all(type(id) is int and id >= 0 for id in vocabulary.values()):
        raise CheckpointError("it is not an object of tokens and their ids")


def read_merges(path):
    """vocab.bpe, or merges.txt: a line for each pair of tokens, after one with a version -> list of pairs."""
    lines = read_text(path, MAX_VOCABULARY_SIZE).split("\n")
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in merges):
        raise CheckpointError(f"{path}: a line is not a pair of tokens")
    return merges


def parse_tokenizer(tokenizer):
    """The contents of Hugging Face's tokenizer.json -> {token: id}, list of pairs of tokens.

    CheckpointError if a setting, see SUPPORTED, makes it another kind of tokenizer than GPT-2's.
    """
    for part, settings in SUPPORTED.items():
        values = tokenizer.get(part) or {}
        for name, supported in settings.items():
            if not isinstance(values, dict) or values.get(name) not in supported:
                raise CheckpointError(f"its {part} is not GPT-2's: only {name} {supported[0]!r} is supported")
    model, added = tokenizer.get("model") or {}, tokenizer.get("added_tokens") or []
    vocabulary, merges = model.get("vocab"), model.get("merges")
    check_vocabulary(vocabulary)
    try:
        merges = [tuple(pair.split(" ") if type(pair) is str else pair) for pair in merges]
        if not all(type(first) is type(second) is str and first and second for first, second in merges):
            raise TypeError
        vocabulary.update({spell(token["content"]): token["id"] for token in added})
        check_vocabulary(vocabulary)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise CheckpointError("its merges or added_tokens are not what they should be") from None
    return vocabulary, merges


def spell(text):
    """A text as a token is written, one printable character per byte."""
    byte_encoder = bytes_to_unicode()
    return "".join(byte_encoder[byte] for byte in text.encode("utf-8"))
