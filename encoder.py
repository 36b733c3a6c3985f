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
import json
from pathlib import Path

import regex

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"  # the token between two texts in GPT-2's training
CACHE_SIZE = 2**16  # pre-tokens whose ids are remembered


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
        tails = [text[n:] for n in range(len(text) + 1)]
        self.held = next((tail for tail in tails if any(stop.startswith(tail) for stop in self.stop)), "")
        return text[: len(text) - len(self.held)]


def bytes_to_unicode():
    """The printable character that stands for each byte in the vocabulary's files -> {byte: character}.

    The vocabulary's files are text, where a space or a line end cannot stand for itself. The 188 bytes that
    are printable in Latin-1 do; the other 68 become chr(256), chr(257) and so on: a space is "Ġ".
    """
    printable = [byte for first, last in ("!~", "¡¬", "®ÿ") for byte in range(ord(first), ord(last) + 1)]
    others = sorted(set(range(256)) - set(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def get_encoder(model_name, models_dir):
    """The Encoder of the model in the folder models_dir/model_name, from its encoder.json and vocab.bpe.

    Raises:
        FileNotFoundError: one of the two is not there.
        ValueError: they are not a tokenizer's; the message names the file.
    """
    folder = Path(models_dir) / model_name
    encoder_path, merges_path = folder / "encoder.json", folder / "vocab.bpe"
    try:
        encoder = json.loads(encoder_path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{encoder_path}: {error}") from None
    if not isinstance(encoder, dict) or not all(type(id) is int for id in encoder.values()):
        raise ValueError(f"{encoder_path}: it is not an object of tokens and their ids")

    try:
        lines = merges_path.read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise ValueError(f"{merges_path}: {error}") from None
    bpe_merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in bpe_merges):
        raise ValueError(f"{merges_path}: a line is not a pair of tokens")

    try:
        return Encoder(encoder, bpe_merges)
    except ValueError as error:
        raise ValueError(f"{encoder_path} and {merges_path.name} do not fit: {error}") from None
