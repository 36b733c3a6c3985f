"""The log-probabilities of tokens, computed from logits and written as in OpenAI's API."""

import codecs
from typing import NamedTuple

import numpy as np

from generation.scoring import log_softmax
from gpt2 import CHUNK_SIZE, gpt2, new_cache


class TokenScore(NamedTuple):
    """A token, its log-probability, and {id: log-probability} of the most probable tokens and itself."""

    token_id: int
    log_prob: float
    top: dict


def score_token(token_id, logits, n_top):
    """Score one token. logits [n_vocab] -> TokenScore."""
    log_probs = log_softmax(logits)  # [n_vocab]
    top_ids = np.argpartition(-log_probs, n_top)[:n_top]  # [n_vocab] -> [n_top], in any order
    top_ids = top_ids[np.argsort(-log_probs[top_ids])].tolist()
    top = {top_id: float(log_probs[top_id]) for top_id in [*top_ids, token_id]}
    return TokenScore(token_id, top[token_id], top)


def score_prompt(ids, params, n_head, n_top):
    """Yield a TokenScore for each token of a prompt. Nothing precedes the first: its scores are None."""
    yield TokenScore(ids[0], None, None)
    inputs, next_ids = ids[:-1], ids[1:]
    cache = new_cache(params, n_head, n_slots=len(ids))
    for start in range(0, len(inputs), CHUNK_SIZE):
        chunk = inputs[start : start + CHUNK_SIZE]
        logits = gpt2(chunk, **params, n_head=n_head, cache=cache, n_past=start)  # -> [n_chunk, n_vocab]
        for token_id, row in zip(next_ids[start:], logits, strict=False):  # the last chunk has fewer
            yield score_token(token_id, row, n_top)


def token_string(encoder, token_id):
    """The text of a token, or its bytes if they are not valid UTF-8: "bytes:\\xe4"."""
    token = encoder.decode_bytes([token_id])
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


class LogprobWriter:
    """Write the scores of successive tokens as OpenAI's "logprobs".

    Args:
        encoder: the tokenizer.
        offset: the number of characters before the first token.
    """

    def __init__(self, encoder, offset):
        self.encoder, self.offset = encoder, offset
        self.characters = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def write(self, scores):
        """TokenScores -> dict of lists. A token within a character has the offset of that character."""
        lists = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token_id, log_prob, top in scores:
            lists["tokens"].append(token_string(self.encoder, token_id))
            lists["token_logprobs"].append(log_prob)
            lists["top_logprobs"].append(top and self.name_tokens(top))
            lists["text_offset"].append(self.offset)
            self.offset += len(self.characters.decode(self.encoder.decode_bytes([token_id])))
        return lists

    def name_tokens(self, top):
        return {token_string(self.encoder, token_id): log_prob for token_id, log_prob in top.items()}
