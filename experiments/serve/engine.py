"""One thread continues the texts of all requests, in batches."""

import threading
import traceback

import numpy as np

from generation.batches import generate_batch
from generation.completions import BATCH_SIZE, MAX_CACHE_BYTES
from generation.text_stream import TextStream
from serve.errors import ApiError
from serve.logprobs import LogprobWriter, score_prompt, score_token

MAX_WAITING = 256  # texts


class Text:
    """One prompt that the engine continues once. Its parts are entries of "choices", as in OpenAI's streams.

    Args:
        index: the index of the text in the answer.
        ids: the prompt.
        seed: the seed of the text, or None.
        request: the CompletionRequest.
        encoder: the tokenizer.
        emit: a function that takes each part, or an ApiError instead. The engine's thread calls it.
    """

    def __init__(self, index, ids, seed, request, encoder, emit):
        self.index, self.ids, self.seed, self.emit = index, ids, seed, emit
        self.max_tokens, self.has_echo, self.n_top = request.max_tokens, request.echo, request.logprobs
        self.sampling = {"temperature": request.temperature, "top_p": request.top_p}
        self.encoder = encoder
        self.prompt = encoder.decode(ids)
        self.stream = TextStream(encoder, request.stop)
        self.writer = LogprobWriter(encoder, len(self.prompt))
        self.n_tokens = 0  # generated
        self.is_done = False  # finished, or the client has gone

    def read_prompt(self, model):
        """Emit the prompt if the client wants its echo, and finish if it wants nothing else."""
        scores = []
        if self.has_echo and self.n_top is not None:
            scores = score_prompt(self.ids, **model, n_top=self.n_top)
        text = self.prompt if self.has_echo else ""
        reason = "length" if self.max_tokens == 0 else None
        if self.has_echo or reason:
            self.push(text, LogprobWriter(self.encoder, 0).write(scores), reason)

    def add(self, token_id, logits):
        """Take the next token, which was chosen from these logits, [n_vocab]."""
        self.n_tokens += 1
        scores = [] if self.n_top is None else [score_token(token_id, logits, self.n_top)]
        is_end = token_id in self.encoder.stop_ids
        text = "" if is_end else self.stream.push(token_id)
        reason = None
        if is_end or self.stream.has_stopped or self.n_tokens == self.max_tokens:
            text += self.stream.finish()
            reason = "stop" if is_end or self.stream.has_stopped else "length"
        self.push(text, self.writer.write(scores), reason)

    def push(self, text, logprobs, reason):
        """Emit a part of the text. The last part has a reason."""
        logprobs = None if self.n_top is None else logprobs
        if not self.is_done:
            self.is_done = reason is not None
            self.emit({"text": text, "index": self.index, "logprobs": logprobs, "finish_reason": reason})

    def fail(self, error):
        """Emit an error instead of the rest."""
        if not self.is_done:
            self.is_done = True
            self.emit(error)


class Engine:
    """A queue of texts, and the thread that continues them.

    Args:
        model: a LoadedModel.
    """

    def __init__(self, model):
        self.model = {"params": model.params, "n_head": model.hparams["n_head"]}
        self.waiting, self.running = [], []
        self.has_changed = threading.Condition()  # also the lock of both lists
        self.is_closed = False
        threading.Thread(target=self.run, daemon=True).start()

    def submit(self, texts):
        """Add texts to the queue, all or none. Raises ApiError if it has no room for them, or is closed."""
        with self.has_changed:
            if self.is_closed:
                raise server_stops()
            self.waiting = [text for text in self.waiting if not text.is_done]
            if len(self.waiting) + len(texts) > MAX_WAITING:
                message = f"{len(self.waiting)} texts are waiting: try again later"
                raise ApiError(message, 429, code="queue_full", headers={"Retry-After": "1"})
            self.waiting += texts
            self.has_changed.notify()

    def close(self):
        """Fail all texts: the server stops. A signal handler can call this."""
        with self.has_changed:  # reentrant, if the signal interrupts `submit`
            self.is_closed = True
            texts = self.running + self.waiting
            self.waiting = []
        fail_all(texts, server_stops())

    def run(self):
        with np.errstate(over="raise", invalid="raise"):  # a setting of this thread
            while True:
                self.continue_batch(self.next_batch())

    def next_batch(self):
        """Wait for texts. Take the first, and others with the same sampling settings."""
        with self.has_changed:
            self.has_changed.wait_for(lambda: self.waiting)
            self.running = choose_batch(self.waiting, self.model["params"])
            self.waiting = [text for text in self.waiting if text not in self.running]
            return self.running

    def continue_batch(self, texts):
        """Continue texts until all are done. An error ends all of them."""
        try:
            for text in texts:
                if not text.is_done:
                    text.read_prompt(self.model)
            self.generate([text for text in texts if not text.is_done])
        except Exception:  # a bug, no memory, or logits that are not finite: later requests still get answers
            traceback.print_exc()
            fail_all(texts, ApiError("the computation failed: the server's terminal shows the reason", 500))

    def generate(self, texts):
        """Add tokens to texts with the same sampling settings, until each has its own number of tokens."""
        if not texts:
            return
        prompts, seeds = [text.ids for text in texts], [text.seed for text in texts]
        n_tokens = max(text.max_tokens for text in texts)
        steps = generate_batch(
            prompts,
            **self.model,
            n_tokens_to_generate=n_tokens,
            seeds=seeds,
            is_done=lambda row, token_id: texts[row].is_done,
            **texts[0].sampling,
        )
        for row, token_id, logits in steps:
            texts[row].add(token_id, logits)


def choose_batch(waiting, params):
    """The first text and others with its settings: at most BATCH_SIZE texts and MAX_CACHE_BYTES of cache."""
    first, *others = waiting
    batch = [first]
    for text in others:
        has_room = len(batch) < BATCH_SIZE and cache_bytes([*batch, text], params) <= MAX_CACHE_BYTES
        if has_room and text.sampling == first.sampling:
            batch.append(text)
    return batch


def cache_bytes(texts, params):
    """The size of the keys and values of a batch."""
    n_ctx, n_embd = params["wpe"].shape
    n_slots = max(len(text.ids) for text in texts) + max(text.max_tokens for text in texts)
    n_numbers = 2 * len(params["blocks"]) * len(texts) * min(n_ctx, n_slots) * n_embd
    return n_numbers * params["wpe"].itemsize


def fail_all(texts, error):
    for text in texts:
        text.fail(error)


def server_stops():
    return ApiError("the server stops", 503, code="server_stops")
