"""Token ids in, text out, as soon as it is certain."""

import codecs

from generation.stop_strings import StopStrings


class TextStream:
    """Turn ids into text one by one, and end the text before the first stop string.

    A token may end inside a character, or inside a possible stop string. The stream holds such text back.
    With the tokens "a", " st", "op", " b" and the stop string " stop", `push` returns "a", "", "", "".

    Args:
        encoder: the `Encoder` of the model.
        stop: stop strings, none of them empty.
    """

    def __init__(self, encoder, stop=()):
        self.encoder = encoder
        self.characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.stop_strings = StopStrings(stop)

    @property
    def has_stopped(self):
        return self.stop_strings.is_found

    def push(self, token_id):
        """Take the next token. Returns the text that is now certain, which may be empty."""
        return self.stop_strings.push(self.characters.decode(self.encoder.decode_bytes([token_id])))

    def finish(self):
        """There are no more tokens. Returns the rest of the text."""
        return self.stop_strings.push(self.characters.decode(b"", final=True)) + self.stop_strings.held
