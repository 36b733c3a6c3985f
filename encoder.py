"""Text to token ids and back: GPT-2's byte-level BPE (byte-pair encoding).

    "Not all capes"                 text
 -> ["Not", " all", " capes"]       pre-tokens, cut by PATTERN
 -> ["Not", "Ġall", "Ġcapes"]       each byte of their UTF-8 as one printable character
 -> ["Not", "Ġall", "Ġcap", "es"]   neighbours merged, again and again, while vocab.bpe lists the pair
 -> [3673, 477, 1451, 274]          looked up in encoder.json

Every byte is a token, so every text has an encoding, and decode(encode(text)) == text.
Paper: section 2.2 of "Language Models are Unsupervised Multitask Learners", OpenAI, 2019.
"""

import functools
import heapq
import itertools
from pathlib import Path

import regex

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"  # the token between two texts in GPT-2's training data
CACHE_SIZE = 2**16  # pre-tokens whose ids are cached


class Encoder:
    """A byte-level BPE tokenizer.

    Args:
        encoder: {token: id}. A token is written as one printable character per byte: `bytes_to_unicode`.
        bpe_merges: pairs of tokens to merge, the highest priority first.

    Raises:
        ValueError: a byte or a merged pair has no id, or a token has a character that stands for no byte.
    """

    def __init__(self, encoder, bpe_merges):
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {char: byte for byte, char in self.byte_encoder.items()}
        self.encoder = encoder
        self.decoder = {token_id: token for token, token_id in encoder.items()}
        self.end_of_text = encoder.get(END_OF_TEXT)  # its id, or None
        self.bpe_ranks = {pair: rank for rank, pair in enumerate(bpe_merges)}
        self.bpe = functools.lru_cache(CACHE_SIZE)(self.bpe)

        tokens = itertools.chain(self.byte_encoder.values(), map("".join, bpe_merges))
        missing = [token for token in tokens if token not in encoder]
        if missing:
            raise ValueError(f"{len(missing)} tokens have no id, such as {min(missing)!r}")
        unknown = set("".join(encoder)) - self.byte_decoder.keys()
        if unknown:
            raise ValueError(f"tokens have characters that stand for no byte, such as {min(unknown)!r}")

    def encode(self, text):
        """Text -> list of ids. "<|endoftext|>" is encoded as ordinary text, not as the special token.

        Raises:
            ValueError: the text has a lone surrogate, which has no UTF-8.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            place = f"lone surrogate {text[error.start]!r} at {error.start}"
            raise ValueError(f"the text is not valid Unicode: {place}") from None
        return [token_id for pretoken in PATTERN.findall(text) for token_id in self.bpe(pretoken)]

    def decode(self, ids):
        """Ids -> text. Invalid UTF-8, such as half a character, becomes U+FFFD.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids):
        """Ids -> bytes in UTF-8. A token may start or end within a character.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        try:
            chars = "".join([self.decoder[token_id] for token_id in ids])
        except KeyError as error:
            raise ValueError(f"id {error} is not in the vocabulary of {len(self.decoder)} tokens") from None
        return bytes(self.byte_decoder[char] for char in chars)

    def bpe(self, pretoken):
        """One pre-token -> tuple of ids: merge the pair of lowest rank until no pair has a rank.

        Of equal pairs, the leftmost is merged first. A heap finds the next pair, and a linked list (`left`,
        `right`) the neighbours of a token. So n bytes take n log n steps.
        """
        rank_of = self.bpe_ranks.get
        tokens = [self.byte_encoder[byte] for byte in pretoken.encode("utf-8")]
        left, right = [*range(-1, len(tokens))], [*range(1, len(tokens) + 1), -1]
        heap = []  # (rank of the pair, index of its left token)
        for n, pair in enumerate(itertools.pairwise(tokens)):
            if (rank := rank_of(pair)) is not None:
                heap.append((rank, n))
        heapq.heapify(heap)
        tokens.append("")  # sentinel beyond both ends; "" also replaces a merged token, and has no rank
        while heap:
            rank, n = heapq.heappop(heap)
            after = right[n]
            if rank_of((tokens[n], tokens[after])) != rank:
                continue  # outdated: one of the two tokens has been merged with another
            tokens[n], tokens[after] = tokens[n] + tokens[after], ""
            before, after = left[n], right[after]
            right[n], left[after] = after, n
            if (rank := rank_of((tokens[before], tokens[n]))) is not None:
                heapq.heappush(heap, (rank, before))
            if (rank := rank_of((tokens[n], tokens[after]))) is not None:
                heapq.heappush(heap, (rank, n))
        return tuple([self.encoder[token] for token in tokens if token])


@functools.cache
def bytes_to_unicode():
    """The printable character that stands for each byte in the files of a vocabulary -> {byte: character}.

    These files are text with spaces and line ends between the tokens, so a token cannot contain them. The 188
    printable bytes of Latin-1 stand for themselves. The other 68 become chr(256), chr(257) and so on; a space
    becomes "Ġ".
    """
    printable = [byte for first, last in ("!~", "¡¬", "®ÿ") for byte in range(ord(first), ord(last) + 1)]
    others = sorted(set(range(256)) - set(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def get_encoder(model_name, models_dir):
    """Load the tokenizer of the model in models_dir/model_name, in OpenAI's or Hugging Face's layout.

    Raises:
        CheckpointError: a file is damaged or not supported. The message names it.
        FileNotFoundError: a file is missing.
    """
    from loading.tokenizer_files import find_and_load_encoder  # not at the top: that module imports Encoder

    return find_and_load_encoder(Path(models_dir) / model_name)
