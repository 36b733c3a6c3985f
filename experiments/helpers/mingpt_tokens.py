"""The tokens of minGPTs: GPT-2's BPE, characters, words or numbers. Their checkpoints do not contain them."""

from pathlib import Path

from encoder import END_OF_TEXT, Encoder, bytes_to_unicode
from loading.tokenizer_files import find_and_load_encoder
from loading.untrusted_files import error_context
from utils import find_model_dir


class PieceTokenizer:
    """A tokenizer whose tokens are whole pieces of a text: its characters, or its words.

    Args:
        tokens: the texts of the tokens, in the order of their ids.
        is_words: whether white space separates the tokens of a text.
    """

    end_of_text = None  # as in an Encoder without this token

    def __init__(self, tokens, is_words):
        self.tokens = tokens
        self.is_words = is_words
        self.id_of = {token: token_id for token_id, token in enumerate(tokens)}

    def encode(self, text):
        """Text -> list of ids. Raises ValueError if a piece is not a token."""
        pieces = text.split() if self.is_words else text
        for piece in pieces:
            if piece not in self.id_of:
                ends = f"{self.tokens[0]!r} to {self.tokens[-1]!r}"
                raise ValueError(f"{piece!r} is not a token of the model: they are {ends}")
        return [self.id_of[piece] for piece in pieces]

    def decode(self, ids):
        """Ids -> text."""
        separator = " " if self.is_words else ""
        return separator.join(self.tokens[token_id] for token_id in ids)

    def is_ascii(self):
        """Whether the tokens are ASCII characters, which have one byte each."""
        return not self.is_words and "".join(self.tokens).isascii()

    def as_byte_level(self):
        """Convert ASCII characters to bytes: an Encoder with the same ids, without merges."""
        byte_char = bytes_to_unicode()
        return Encoder({byte_char[ord(char)]: token_id for char, token_id in self.id_of.items()}, [])


def load_tokenizer(encoder, text, words, n_vocab):
    """Load the tokenizer of a model with n_vocab tokens -> Encoder or PieceTokenizer.

    Args:
        encoder: a model or folder whose BPE tokenizer the model uses, or None.
        text, words: the path of the training text, or None. The tokens are its characters or its words.
            Without any of these three, a text is the numbers of its tokens.

    Raises:
        CheckpointError: a text or a tokenizer is damaged.
        ValueError: the tokens do not fit the model.
    """
    if encoder is not None:
        return load_bpe(encoder, n_vocab)
    if text is None and words is None:
        return PieceTokenizer([str(token_id) for token_id in range(n_vocab)], is_words=True)
    is_words = text is None
    training_text = read_text(words if is_words else text)
    tokens = sorted(set(training_text.split() if is_words else training_text))
    if len(tokens) != n_vocab:
        found = f"{len(tokens)} distinct {'words' if is_words else 'characters'}"
        raise ValueError(f"{words or text} has {found}, but the model has {n_vocab} tokens")
    return PieceTokenizer(tokens, is_words)


def load_bpe(encoder, n_vocab):
    """Load the BPE tokenizer of a model or folder. As in nanoGPT, it recognizes <|endoftext|> in a text."""
    tokenizer = find_and_load_encoder(find_folder(encoder))
    if max(tokenizer.decoder) >= n_vocab:
        raise ValueError(f"{encoder} has {len(tokenizer.decoder)} tokens, but the model has {n_vocab}")
    tokenizer.decoder = dict.fromkeys(range(n_vocab), "") | tokenizer.decoder  # nanoGPT pads n_vocab
    tokenizer.allowed_special = frozenset({END_OF_TEXT})
    return tokenizer


def find_folder(encoder):
    """The folder with the tokenizer of a model. The argument may also be that folder."""
    folder = Path(encoder).expanduser()
    return folder if folder.is_dir() else find_model_dir(encoder)


def read_text(path):
    """Read a text file, which must be UTF-8. Raises CheckpointError if it is not."""
    with error_context(path):
        return Path(path).expanduser().read_text(encoding="utf-8")
