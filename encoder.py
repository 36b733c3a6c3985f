"""Text to token ids and back: GPT-2's byte-level BPE (byte-pair encoding).

    "Not all capes"                 text
 -> ["Not", " all", " capes"]       pre-tokens, cut by PATTERN
 -> ["Not", "Ġall", "Ġcapes"]       each byte of their UTF-8 as one printable character
 -> ["Not", "Ġall", "Ġcap", "es"]   neighbors merged, again and again, while vocab.bpe lists the pair
 -> [3673, 477, 1451, 274]          looked up in encoder.json

In GPT-2 every byte is a token, so every text has an encoding, and decode(encode(text)) == text. Added tokens,
such as <|endoftext|>, mark the structure of a text. `encode` first cuts the text at those that are allowed.
Paper: section 2.2 of "Language Models are Unsupervised Multitask Learners", OpenAI, 2019.
"""

import functools
import heapq
import itertools
from pathlib import Path
from typing import NamedTuple

import regex

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
END_OF_TEXT = "<|endoftext|>"  # the token between two texts in GPT-2's training data
WHITE_SPACE = regex.compile(r"\s*")
CACHE_SIZE = 2**16  # pre-tokens whose ids are cached


class AddedToken(NamedTuple):
    """A token outside the BPE, such as <|endoftext|>. The flags are those of Hugging Face's tokenizers."""

    text: str
    token_id: int
    lstrip: bool = False  # it takes the white space on its left
    rstrip: bool = False  # and on its right
    single_word: bool = False  # it is not found inside a word
    normalized: bool = False  # it is searched after the others


class Encoder:
    """A byte-level BPE tokenizer.

    Args:
        encoder: {token: id}. A token is written as one printable character per byte: `bytes_to_unicode`. A
            token with other characters stands for its own text.
        bpe_merges: pairs of tokens to merge, the highest priority first.
        added_tokens: AddedTokens, such as AddedToken("<|endoftext|>", 50256).
        add_prefix_space: whether to begin a text with a space, and also the text after an added token.

    Attributes:
        allowed_special: the texts of the added tokens that `encode` recognizes. At first, none.
        end_of_text: the first of stop_ids, or None.
        start_ids: a list with the id that begins a text, which may be that of its end; [] if there is none.
        stop_ids: all ids that end a text.
        n_vocab: the number of rows of the model's embeddings. None: it has one for each token.

    Raises:
        ValueError: a merged pair has no id, or characters that stand for no byte.
    """

    def __init__(self, encoder, bpe_merges, added_tokens=(), add_prefix_space=False):
        self.byte_encoder = bytes_to_unicode()
        self.byte_decoder = {char: byte for byte, char in self.byte_encoder.items()}
        self.added_tokens = {token.text: token for token in added_tokens}
        self.plain_texts = self.added_tokens.keys() - encoder.keys()  # not written in byte characters
        self.encoder = encoder | {token.text: token.token_id for token in self.added_tokens.values()}
        self.decoder = {token_id: token for token, token_id in self.encoder.items()}
        self.bpe_ranks = {pair: rank for rank, pair in enumerate(bpe_merges)}
        self.bpe = functools.lru_cache(CACHE_SIZE)(self.bpe)
        self.added_patterns = functools.lru_cache(8)(self.added_patterns)
        self.add_prefix_space = add_prefix_space
        self.allowed_special = frozenset()
        self.end_of_text = self.encoder.get(END_OF_TEXT)
        self.start_ids = self.stop_ids = [] if self.end_of_text is None else [self.end_of_text]
        self.n_vocab = None

        missing = [token for token in map("".join, bpe_merges) if token not in encoder]
        if missing:
            raise ValueError(f"{len(missing)} tokens have no id, such as {min(missing)!r}")
        unknown = set("".join(map("".join, bpe_merges))) - self.byte_decoder.keys()
        if unknown:
            raise ValueError(f"merges have characters that stand for no byte, such as {min(unknown)!r}")

    def encode(self, text, allowed_special=None):
        """Text -> list of ids.

        Args:
            allowed_special: the texts of the added tokens to recognize, such as {"<|endoftext|>"}, or "all".
                Others are encoded as ordinary text. None means the attribute `allowed_special`.

        Raises:
            ValueError: the text has a lone surrogate, which has no UTF-8, or a byte or token that the model
                does not know; or allowed_special is another text than "all".
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            place = f"lone surrogate {text[error.start]!r} at {error.start}"
            raise ValueError(f"the text is not valid Unicode: {place}") from None
        allowed = self.allowed_special if allowed_special is None else allowed_special
        if isinstance(allowed, str):
            if allowed != "all":
                raise ValueError(f'allowed_special must be "all" or a set of texts, not {allowed!r}')
            allowed = self.added_tokens
        ids = []
        for part in self.split_added(text, frozenset(allowed)):
            ids += self.encode_ordinary(part) if isinstance(part, str) else [part.token_id]
        if self.n_vocab is not None and max(ids, default=0) >= self.n_vocab:
            token = f"{self.decoder[max(ids)]!r}, id {max(ids)}"
            raise ValueError(f"the text has the token {token}, which the model does not know")
        return ids

    def encode_prompt(self, text):
        """Text -> list of ids. An empty text becomes start_ids. Raises as `encode`, and if there are none."""
        ids = self.encode(text) or self.start_ids
        if not ids:
            raise ValueError("the model has no token that begins a text: give it a prompt")
        return ids

    def encode_ordinary(self, text):
        """Text without added tokens -> list of ids."""
        if self.add_prefix_space and not text.startswith(" "):
            text = " " + text
        return [token_id for pretoken in PATTERN.findall(text) for token_id in self.bpe(pretoken)]

    def split_added(self, text, allowed):
        """Cut a text at its added tokens -> list of texts and AddedTokens, in order."""
        parts = [text] if text else []
        for pattern in self.added_patterns(allowed):
            uncut, parts = parts, []
            for part in uncut:
                parts += self.cut(part, pattern) if isinstance(part, str) else [part]
        return parts

    def added_patterns(self, allowed):
        """Patterns that find the allowed added tokens. The normalized ones come last, as in tokenizers."""
        tokens = [self.added_tokens[text] for text in allowed if text in self.added_tokens]
        groups = [[t.text for t in tokens if t.text and t.normalized == last] for last in (False, True)]
        return [regex.compile(r"\L<texts>", texts=texts) for texts in groups if texts]

    def cut(self, text, pattern):
        """Cut a text at the added tokens that the pattern finds -> list of texts and AddedTokens."""
        parts, end = [], 0
        for match in pattern.finditer(text):
            token, (start, stop) = self.added_tokens[match[0]], match.span()
            neighbors = text[max(0, start - 1) : start] + text[stop : stop + 1]
            if token.single_word and regex.search(r"\w", neighbors):
                continue
            if token.lstrip:
                start = end + len(text[end:start].rstrip())
            if token.rstrip:
                stop = WHITE_SPACE.match(text, stop).end()
            parts += [text[end:start], token]
            end = stop
        parts.append(text[end:])
        return [part for part in parts if part]

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
            return b"".join([self.token_bytes(self.decoder[token_id]) for token_id in ids])
        except KeyError as error:
            raise ValueError(f"id {error} is not in the vocabulary of {len(self.decoder)} tokens") from None

    def token_bytes(self, token):
        """The bytes that a token stands for."""
        if token in self.plain_texts or not self.byte_decoder.keys() >= set(token):
            return token.encode("utf-8")
        return bytes(self.byte_decoder[char] for char in token)

    def bpe(self, pretoken):
        """One pre-token -> tuple of ids: merge the pair of lowest rank until no pair has a rank.

        Of equal pairs, the leftmost is merged first. A heap finds the next pair, and a linked list (`left`,
        `right`) the neighbors of a token. So n bytes take n log n steps. A byte without an id is a
        ValueError.
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
        try:
            return tuple([self.encoder[token] for token in tokens if token])
        except KeyError:
            raise ValueError(f"the vocabulary lacks a byte of the text {pretoken!r}") from None


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
