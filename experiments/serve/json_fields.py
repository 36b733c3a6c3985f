"""Read the JSON object in the body of a request. Each wrong field is an ApiError that names it."""

import json

from starlette.requests import Request

from cli.exit_status import as_one_line
from serve.errors import ApiError

MAX_BODY_BYTES = 2**20


async def read_json(request: Request):
    """Read the body, with at most MAX_BODY_BYTES -> dict."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(f"the body has more than {MAX_BODY_BYTES} bytes", 413, code="body_too_large")
    try:
        fields = json.loads(body, parse_constant=reject_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise ApiError("the body must be a JSON object", code="invalid_json")
    return fields


def reject_constant(name):
    """Python reads NaN and Infinity, but they are not JSON."""
    raise ValueError(f"{name} is not a number")


def reject(name, expected, value):
    """Raise the ApiError of a field with a wrong value."""
    shown = as_one_line(repr(value)[:100])
    raise ApiError(f"{name} must be {expected}, not {shown}", param=name, code="invalid_value")


def read_integer(fields, name, default, minimum, maximum):
    """A whole number in a range; null is the default."""
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not int or not minimum <= value <= maximum:  # a bool is an int, too
        reject(name, f"a whole number from {minimum} to {maximum}", value)
    return value


def read_number(fields, name, default, minimum, maximum):
    """A number in a range; null is the default."""
    value = fields.get(name)
    if value is None:
        return default
    if type(value) not in (int, float) or not minimum <= value <= maximum:
        reject(name, f"a number from {minimum} to {maximum}", value)
    return value


def read_flag(fields, name, default=False):
    """true or false; null is the default."""
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not bool:
        reject(name, "true or false", value)
    return value


def check_model_name(fields, model):
    """There is one model. A request can leave out its name."""
    name = fields.get("model")
    if name not in (None, model.name):
        shown = as_one_line(repr(name)[:100])
        message = f"the model {shown} does not exist: this server has {model.name!r}"
        raise ApiError(message, 404, param="model", code="model_not_found")


def check_names(fields, supported):
    """Raise ApiError for a field that the server does not support. null is the same as no field."""
    for name, value in fields.items():
        if name not in supported and value is not None:
            shown = as_one_line(repr(name)[:100])
            raise ApiError(f"the field {shown} is not supported", param=name, code="unsupported_field")


def is_id_list(value, model):
    """Whether a value is a list of ids that the model and its tokenizer know."""
    n_vocab = len(model.params["wte"])
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < n_vocab and item in model.encoder.decoder for item in value
    )
