"""Read the requests of the page. Each wrong field is an ApiError that names it."""

from typing import NamedTuple

from serve.completion_request import read_top_p
from serve.errors import ApiError
from serve.json_fields import is_id_list, read_integer, read_number, reject

MAX_CHARACTERS = 100_000  # of the typed text
MAX_TOKENS = 1000  # that the page adds to it


class PageText(NamedTuple):
    """A text in the page: the prompt, and the tokens that Step and Run have drawn after it."""

    shown: str  # all of it
    prompt: str | None  # the prompt as gpt2.py takes it; None if gpt2.py would read other tokens
    prompt_ids: list
    drawn_ids: list


def read_page_text(fields, model):
    """Encode a text: {"text", "chosen": ids of clicked tokens after it, "drawn": ids of drawn tokens}."""
    text = fields.get("text")
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        reject("text", f"a text of at most {MAX_CHARACTERS} characters", text)
    chosen, drawn = (read_ids(fields, name, model) for name in ("chosen", "drawn"))
    encoder = model.encoder
    try:
        prompt_ids = [*encoder.encode(text), *chosen] or encoder.encode_prompt("")
    except ValueError as error:
        raise ApiError(str(error), param="text", code="invalid_value") from None
    prompt = text + encoder.decode(chosen)
    shown = text + encoder.decode([*chosen, *drawn])
    return PageText(shown, prompt if encodes_to(encoder, prompt, prompt_ids) else None, prompt_ids, drawn)


def encodes_to(encoder, prompt, ids):
    """Whether gpt2.py reads a prompt as these ids."""
    try:
        return encoder.encode_prompt(prompt) == ids
    except ValueError:
        return False


def read_ids(fields, name, model):
    ids = fields.get(name)
    if not is_id_list(ids, model) or len(ids) > MAX_TOKENS:
        reject(name, f"a list of at most {MAX_TOKENS} ids", ids)
    return ids


def read_settings(fields, model):
    """Read how many tokens to draw, the seed, and the settings of the sampler."""
    return {
        "n_tokens": read_integer(fields, "n_tokens", 1, 1, MAX_TOKENS),
        "seed": read_integer(fields, "seed", 0, 0, 2**63 - 1),
        "temperature": read_number(fields, "temperature", 1.0, 0, 2),
        "top_k": read_integer(fields, "top_k", 0, 0, model.hparams["n_vocab"]),
        "top_p": read_top_p(fields),
        "min_p": read_number(fields, "min_p", 0.0, 0, 1),
    }
