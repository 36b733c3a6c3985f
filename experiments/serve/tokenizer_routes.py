"""POST /tokenize, POST /detokenize and GET /tokenizer_info, as in vLLM's server."""

from starlette.concurrency import run_in_threadpool
from starlette.routing import Route

from encoder import END_OF_TEXT
from serve.errors import ApiError, json_response
from serve.json_fields import check_model_name, check_names, is_id_list, read_flag, read_json, reject
from serve.logprobs import token_string


def tokenize(fields, model):
    """{"prompt"} -> {"count", "max_model_len", "tokens", "token_strs"}. An empty prompt has no tokens.

    As in vLLM, <|endoftext|> in the prompt is one token. add_special_tokens changes nothing: GPT-2 adds no
    token to a text.
    """
    check_model_name(fields, model)
    check_names(fields, {"model", "prompt", "add_special_tokens", "return_token_strs"})
    read_flag(fields, "add_special_tokens", True)
    prompt = fields.get("prompt")
    if not isinstance(prompt, str):
        reject("prompt", "a text", prompt)
    try:
        ids = model.encoder.encode(prompt, allowed_special="all")
    except ValueError as error:
        raise ApiError(str(error), param="prompt", code="invalid_value") from None
    strings = None
    if read_flag(fields, "return_token_strs"):
        strings = [token_string(model.encoder, token_id) for token_id in ids]
    return {"count": len(ids), "max_model_len": model.n_ctx, "tokens": ids, "token_strs": strings}


def detokenize(fields, model):
    """{"tokens"} -> {"prompt"}."""
    check_model_name(fields, model)
    check_names(fields, {"model", "tokens"})
    ids = fields.get("tokens")
    if not is_id_list(ids, model):
        reject("tokens", f"a list of ids from 0 to {len(model.params['wte']) - 1}", ids)
    return {"prompt": model.encoder.decode(ids)}


def tokenizer_info(model):
    """The settings of the tokenizer, with the names of Hugging Face's tokenizer_config.json."""
    token = END_OF_TEXT if model.encoder.end_of_text is not None else None
    return {
        "tokenizer_class": "GPT2Tokenizer",
        "model_max_length": model.n_ctx,
        "vocab_size": len(model.encoder.decoder),
        "add_prefix_space": model.encoder.add_prefix_space,
        "bos_token": token,
        "eos_token": token,
        "unk_token": token,
    }


def tokenizer_routes(model):
    """Returns the three routes."""

    async def post_tokenize(request):
        return json_response(await run_in_threadpool(tokenize, await read_json(request), model))

    async def post_detokenize(request):
        return json_response(await run_in_threadpool(detokenize, await read_json(request), model))

    async def get_tokenizer_info(request):
        return json_response(tokenizer_info(model))

    return [
        Route("/tokenize", post_tokenize, methods=["POST"]),
        Route("/detokenize", post_detokenize, methods=["POST"]),
        Route("/tokenizer_info", get_tokenizer_info),
    ]
