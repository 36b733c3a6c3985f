"""The fields of a request for completions. They are those of OpenAI's API, with its defaults."""

from typing import NamedTuple

from serve.errors import ApiError
from serve.json_fields import (
    check_model_name,
    check_names,
    is_id_list,
    read_flag,
    read_integer,
    read_number,
    reject,
)

MAX_TEXTS = 128  # prompts times n
MAX_STOPS = 4
MAX_STOP_LENGTH = 256  # characters
MAX_CHARACTERS_PER_TOKEN = 128  # no token of GPT-2 has more
SUPPORTED = {
    *("model", "prompt", "max_tokens", "temperature", "top_p", "n", "stop", "seed", "logprobs", "echo"),
    *("stream", "stream_options", "user"),  # the name of a user changes nothing, also at OpenAI
}
# Clients send these fields with values that change nothing.
NEUTRAL = {"presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {}}


class CompletionRequest(NamedTuple):
    """What a client asks for. The prompts are lists of ids. logprobs and seed can be None."""

    prompts: list
    max_tokens: int
    temperature: float
    top_p: float
    n: int
    stop: list
    seed: int
    logprobs: int
    echo: bool
    is_stream: bool
    has_usage: bool


def read_completion(fields, model):
    """Check all fields -> CompletionRequest. Raises ApiError."""
    check_model_name(fields, model)
    n = read_integer(fields, "n", 1, 1, MAX_TEXTS)
    neutral = {**NEUTRAL, "best_of": n}
    check_names({name: fields[name] for name in fields if fields[name] != neutral.get(name)}, SUPPORTED)
    is_stream = read_flag(fields, "stream")
    request = CompletionRequest(
        prompts=read_prompts(fields, model),
        max_tokens=read_integer(fields, "max_tokens", 16, 0, model.n_ctx),
        temperature=read_number(fields, "temperature", 1.0, 0, 2),
        top_p=read_top_p(fields),
        n=n,
        stop=read_stop(fields),
        seed=read_integer(fields, "seed", None, 0, 2**63 - 1),
        logprobs=read_integer(fields, "logprobs", None, 0, 5),
        echo=read_flag(fields, "echo"),
        is_stream=is_stream,
        has_usage=read_stream_options(fields, is_stream),
    )
    check_sizes(request, model)
    return request


def read_prompts(fields, model):
    """A text, a list of texts, a list of ids, or a list of such lists -> list of id lists.

    An empty text, or no prompt, becomes the token that begins a text.
    """
    prompt = fields.get("prompt")
    if prompt is None:
        prompt = ""
    if isinstance(prompt, str) or (isinstance(prompt, list) and prompt and type(prompt[0]) is int):
        prompt = [prompt]
    if not isinstance(prompt, list) or not 1 <= len(prompt) <= MAX_TEXTS:
        reject("prompt", f"a text, a list of ids, or a list of 1 to {MAX_TEXTS} of them", prompt)
    if not all(isinstance(part, type(prompt[0])) for part in prompt):
        reject("prompt", "a list of texts or a list of id lists, not of both", prompt)
    return [read_prompt(part, model) for part in prompt]


def read_prompt(prompt, model):
    """A text or a list of ids -> list of ids."""
    if not isinstance(prompt, str):
        if prompt == [] or not is_id_list(prompt, model):
            reject("prompt", f"one or more ids from 0 to {len(model.params['wte']) - 1}", prompt)
        return prompt
    if len(prompt) > model.n_ctx * MAX_CHARACTERS_PER_TOKEN:  # do not encode it in vain
        raise too_long(f"the prompt has {len(prompt)} characters", model)
    try:
        return model.encoder.encode_prompt(prompt)
    except ValueError as error:
        raise ApiError(str(error), param="prompt", code="invalid_value") from None


def read_top_p(fields):
    """As `gpt2.sample`, it must be more than 0."""
    top_p = read_number(fields, "top_p", 1.0, 0, 1)
    if top_p == 0:
        reject("top_p", "more than 0 (temperature 0 is greedy)", top_p)
    return top_p


def read_stop(fields):
    """A string, or a list of strings -> list of strings."""
    stop = fields.get("stop")
    if stop is None:
        return []
    strings = [stop] if isinstance(stop, str) else stop
    is_valid = isinstance(strings, list) and len(strings) <= MAX_STOPS
    if not is_valid or not all(isinstance(s, str) and 1 <= len(s) <= MAX_STOP_LENGTH for s in strings):
        reject("stop", f"at most {MAX_STOPS} strings of 1 to {MAX_STOP_LENGTH} characters", stop)
    return strings


def read_stream_options(fields, is_stream):
    """Returns whether the stream ends with the usage."""
    options = fields.get("stream_options")
    if options is None:
        return False
    if not is_stream:
        raise ApiError("stream_options needs stream", param="stream_options", code="invalid_value")
    if not isinstance(options, dict) or options.keys() - {"include_usage"}:
        reject("stream_options", 'an object with "include_usage" alone', options)
    return read_flag(options, "include_usage")


def check_sizes(request, model):
    """Raise ApiError if there are too many texts, or if one exceeds the context."""
    n_texts = len(request.prompts) * request.n
    if n_texts > MAX_TEXTS:
        message = f"{len(request.prompts)} prompts with n={request.n} are more than {MAX_TEXTS} texts"
        raise ApiError(message, param="n", code="invalid_value")
    n_prompt = max(map(len, request.prompts))
    if n_prompt + request.max_tokens > model.n_ctx:
        raise too_long(f"the prompt has {n_prompt} tokens, and max_tokens is {request.max_tokens}", model)


def too_long(reason, model):
    message = f"{reason}, but the context of this model is {model.n_ctx} tokens"
    return ApiError(message, param="prompt", code="context_length_exceeded")
