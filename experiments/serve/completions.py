"""POST /v1/completions: the answer to a request, at once or as a stream of server-sent events."""

import asyncio
import json
import time
import uuid
from collections import Counter

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from generation.batches import text_seed
from serve.completion_request import read_completion
from serve.engine import Text
from serve.errors import ApiError, json_response
from serve.json_fields import read_json


class Answer:
    """The texts of one request, and the queue through which the engine's thread sends their parts."""

    def __init__(self, request, model):
        self.request = request
        self.head = {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion"}
        self.head |= {"created": int(time.time()), "model": model.name}
        self.queue, self.loop = asyncio.Queue(), asyncio.get_running_loop()
        self.texts, n_before = [], Counter()
        for ids in request.prompts:
            for _ in range(request.n):
                seed = text_seed(request.seed, ids, n_before[tuple(ids)])  # as in generation/completions.py
                n_before[tuple(ids)] += 1
                self.texts.append(Text(len(self.texts), ids, seed, request, model.encoder, self.put))

    def put(self, item):
        """Take a part of a text or an error from the engine's thread."""
        self.loop.call_soon_threadsafe(self.queue.put_nowait, item)

    async def cancel_at_disconnect(self, receive):
        """Wait until the client has gone or has the whole response. Then the engine drops the texts."""
        while (await receive())["type"] != "http.disconnect":
            pass
        for text in self.texts:
            text.is_done = True
        self.queue.put_nowait(ClientDisconnect())

    async def parts(self):
        """Yield the parts of all texts as soon as they are known. Raises ApiError and ClientDisconnect."""
        n_running = len(self.texts)
        while n_running:
            part = await self.queue.get()
            if isinstance(part, Exception):
                raise part
            yield part
            n_running -= part["finish_reason"] is not None

    async def whole(self):
        """Join all parts to the body of a response."""
        choices = [None] * len(self.texts)
        async for part in self.parts():
            before = choices[part["index"]]
            choices[part["index"]] = part if before is None else join(before, part)
        return {**self.head, "choices": choices, "usage": self.usage()}

    async def events(self):
        """Yield a server-sent event for each part."""
        usage = {"usage": None} if self.request.has_usage else {}
        try:
            async for part in self.parts():
                yield event({**self.head, "choices": [part], **usage})
            if self.request.has_usage:
                yield event({**self.head, "choices": [], "usage": self.usage()})
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield event(error.content())

    def usage(self):
        """Count tokens: each prompt once, and all new tokens, even <|endoftext|> and stop strings."""
        n_prompt = sum(map(len, self.request.prompts))
        n_new = sum(text.n_tokens for text in self.texts)
        return {"prompt_tokens": n_prompt, "completion_tokens": n_new, "total_tokens": n_prompt + n_new}


def join(part, after):
    """Join two parts of a text."""
    logprobs = part["logprobs"]
    if logprobs is not None:
        logprobs = {name: logprobs[name] + after["logprobs"][name] for name in logprobs}
    return {**after, "text": part["text"] + after["text"], "logprobs": logprobs}


def event(content):
    return f"data: {json.dumps(content)}\n\n"


def completion_endpoint(model, engine):
    """Returns the function that answers POST /v1/completions."""

    async def create_completion(request):
        fields = await read_json(request)
        answer = Answer(await run_in_threadpool(read_completion, fields, model), model)
        engine.submit(answer.texts)
        answer.watcher = asyncio.create_task(answer.cancel_at_disconnect(request.receive))
        if answer.request.is_stream:
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        return json_response(await answer.whole())

    return create_completion
