"""Text to ids that fit the context, and ids to labels that a person can read."""

WHITE_SPACE = {" ": "·", "\n": "↵", "\t": "→"}


def encode_within_context(encoder, text, params):
    """Encode a text. Raises ValueError if it has more than n_ctx tokens."""
    ids, n_ctx = encoder.encode(text), len(params["wpe"])
    if len(ids) > n_ctx:
        raise ValueError(f"the text has {len(ids)} tokens, but the context of this model is {n_ctx}")
    return ids


def encode_single_token(encoder, name, text):
    """Encode the value of a flag: " king" -> its id. Raises ValueError if it is not one token."""
    ids = encoder.encode(text)
    if len(ids) != 1:
        raise ValueError(f"--{name} must be one token, but {text!r} has {len(ids)}")
    return ids[0]


def visible(text):
    """Show white space as symbols, and other unprintable characters as �: " a\\n" -> "·a↵"."""
    return "".join(WHITE_SPACE.get(char, char if char.isprintable() else "�") for char in text)


def token_texts(encoder, ids):
    """Decode each token on its own. Bytes of an incomplete character become escapes such as \\xe2."""
    return [encoder.decode_bytes([token_id]).decode("utf-8", errors="backslashreplace") for token_id in ids]


def token_labels(encoder, ids):
    """Decode each token on its own, with visible white space."""
    return [visible(token) for token in token_texts(encoder, ids)]


def on_color(text, color):
    """Add the terminal's escape codes for black text on one of 256 background colors."""
    return f"\x1b[30;48;5;{color}m{text}\x1b[0m"
