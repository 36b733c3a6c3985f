"""The engines: how each runs the same GPT-2 weights. Each engine gets its own process and thread pool.

    python benchmarks/peers.py NAME FOLDER CONVERTED

loads the engine NAME, one of PEERS. FOLDER has the model in OpenAI's five files. CONVERTED has the weights in
the engine's own format, as conversion.py writes them. The process prints "ready". Then it answers each line
of JSON on stdin with one on stdout:
    {"prompts": [ids], "n_tokens": the number of tokens to decode after the first, "logits": a path or null}
    {"prompt_s": seconds to the first new token, "decode_s": [seconds for each later token], "ids": [new ids]}
The prompts have equal lengths and form one batch. Decoding is greedy. The logits of all new tokens of the
first prompt go to the path, [1 + n_tokens, n_vocab]. OMP_NUM_THREADS sets the number of threads.

    python benchmarks/peers.py NAME FOLDER CONVERTED ID ID ...

prints the token after these ids, then the peak memory of the process in bytes, and ends.
"""

import json
import os
import signal
import sys
import time
import timeit
from pathlib import Path

import numpy as np
import random_model  # noqa: F401  (makes the next imports possible)
from llama_cpp_peer import LlamaCpp
from peer import N_THREADS, Peer

import gpt2
import gpt2_pico
from generation.batches import generate_batch
from utils import load_encoder_hparams_and_params


class ThisProject(Peer):
    engine = "this project"

    def __init__(self, folder, converted, precision):
        _, hparams, self.params = load_encoder_hparams_and_params(folder)
        self.n_head = hparams["n_head"]

    def begin(self, prompts, n_tokens):
        self.cache = gpt2.new_cache(self.params, self.n_head, n_slots=len(prompts[0]) + n_tokens)
        self.n_past = 0

    def forward(self, ids):
        logits = gpt2.prefill(ids[0], self.params, self.n_head, self.cache, self.n_past)
        self.n_past += len(ids[0])
        return logits[None]

    def run(self, prompts, n_tokens, keep_logits=False):
        if len(prompts) == 1:
            return super().run(prompts, n_tokens, keep_logits)
        new, times = [[] for _ in prompts], [time.perf_counter()]
        for row, token_id, _ in generate_batch(prompts, self.params, self.n_head, 1 + n_tokens):
            new[row].append(token_id)
            if row == len(prompts) - 1:
                times.append(time.perf_counter())
        return new, times, []


class PicoGPT(ThisProject):
    """No cache: each token computes the whole text again, with logits for all positions."""

    engine = "picoGPT's algorithm"
    measures = ("text",)
    n_tokens = 2  # slow

    def begin(self, prompts, n_tokens):
        self.ids = []

    def forward(self, ids):
        self.ids += list(ids[0])
        return gpt2_pico.gpt2(self.ids, **self.params, n_head=self.n_head)[-1:]


class MatrixProducts(Peer):
    """Only the model's matrix products, each weight in the faster of two memory orders.

    This is the limit of what NumPy can reach. The logits mean nothing.
    """

    engine = "bare matrix products"
    measures = ("text", "batch")
    is_model = False

    def __init__(self, folder, converted, precision):
        _, _, params = load_encoder_hparams_and_params(folder)
        parts = [(part, name) for part in ("attn", "mlp") for name in params["blocks"][0][part]]
        kinds = [[block[part][name]["w"] for block in params["blocks"]] for part, name in parts]
        self.kinds = [FasterOrder(weights) for weights in kinds]
        self.unembedding = FasterOrder([params["wte"].T])

    def begin(self, prompts, n_tokens):
        for n_seq in (len(prompts[0]), 1):  # choose the orders now, outside the measured time
            self.forward(np.zeros((len(prompts), n_seq)))

    def forward(self, ids):
        n_batch, n_seq = np.shape(ids)
        for weights in self.kinds:
            weights.multiply(n_batch * n_seq)
        return self.unembedding.multiply(n_batch)


class FasterOrder:
    """Weights in row-major or in column-major order, whichever is faster for a number of rows."""

    def __init__(self, weights):
        row_major = [np.ascontiguousarray(w) for w in weights]
        column_major = [np.asfortranarray(w) for w in weights]
        self.orders = (row_major, column_major)
        self.faster = {}  # number of rows -> one of the orders

    def multiply(self, n):
        """Multiply ones [n, n_in] with each weight [n_in, n_out]. Returns the last product."""
        if n not in self.faster:
            n_timed = min(n, 128)  # more rows change nothing
            self.faster[n] = min(self.orders, key=lambda weights: time_products(weights, n_timed))
        return multiply(self.faster[n], n)


def multiply(weights, n):
    """Multiply ones [n, n_in] with each weight [n_in, n_out]. Returns the last product."""
    inputs = {n_in: np.ones((n, n_in), np.float32) for n_in in {w.shape[0] for w in weights}}
    for w in weights:
        product = inputs[w.shape[0]] @ w
    return product


def time_products(weights, n):
    """The median time of the products, in seconds."""
    return np.median(timeit.repeat(lambda: multiply(weights, n), number=1, repeat=3))


class Transformers(Peer):
    """GPT2LMHeadModel with its default attention."""

    engine = "transformers"
    packages = ("torch", "transformers")
    precisions = ("float32", "bfloat16")

    def __init__(self, folder, converted, precision):
        import torch
        from transformers import GPT2LMHeadModel

        torch.set_num_threads(N_THREADS)
        options = {"dtype": getattr(torch, precision), "attn_implementation": "sdpa"}
        self.torch, self.model = torch, GPT2LMHeadModel.from_pretrained(converted, **options).eval()

    def begin(self, prompts, n_tokens):
        self.cache = None

    def forward(self, ids):
        with self.torch.inference_mode():
            ids = self.torch.tensor(ids)
            out = self.model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        return out.logits[:, -1].float().numpy()


class CTranslate2(Peer):
    """It generates whole texts only, and calls back for each token."""

    engine = "CTranslate2"
    packages = ("torch", "transformers", "ctranslate2")
    precisions = ("float32", "int8")

    def __init__(self, folder, converted, precision):
        sys.modules["torch"] = None  # only the conversion needs it, and ctranslate2 would import it
        import ctranslate2

        self.generator = ctranslate2.Generator(
            str(converted), compute_type=precision, intra_threads=N_THREADS
        )
        self.tokens = json.loads(
            Path(converted, "vocabulary.json").read_text(encoding="utf-8")
        )  # id -> token

    def run(self, prompts, n_tokens, keep_logits=False):
        times = [time.perf_counter()]  # the start, then one for each token of each text
        results = self.generator.generate_batch(
            [[self.tokens[token_id] for token_id in ids] for ids in prompts],
            max_length=1 + n_tokens,
            end_token=[],  # no early end
            include_prompt_in_result=False,  # compute the prompt in one pass
            return_logits_vocab=keep_logits,
            callback=lambda step: times.append(time.perf_counter()),
        )
        new = [result.sequences_ids[0] for result in results]
        return new, times[:: len(prompts)], np.array(results[0].logits[0]) if keep_logits else []


PEERS = {  # name -> the class, the precision
    f"{peer.engine} {precision}": (peer, precision)
    for peer in (ThisProject, PicoGPT, MatrixProducts, Transformers, CTranslate2, LlamaCpp)
    for precision in peer.precisions
}


def answer(peer, prompts, n_tokens, logits=None):
    """Measure one request, see the module docstring."""
    new, times, kept = peer.run(prompts, n_tokens, logits is not None)
    if logits is not None:
        np.save(logits, np.array(kept, np.float32))
    prompt_s, *decode_s = np.diff(times).tolist()
    return {"prompt_s": prompt_s, "decode_s": decode_s, "ids": new}


def peak_memory():
    """The peak memory of this process in bytes; nan on Windows.

    Linux counts the memory of the parent at its start, too, so the parent must be smaller.
    """
    if sys.platform == "win32":
        return np.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(name, folder, converted, *ids):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an engine prints goes to stderr
    peer, precision = PEERS[name]
    peer = peer(folder, converted, precision)
    if ids:
        new, _, _ = peer.run([[int(token_id) for token_id in ids]], 0)
        print(new[0][0], file=out)
        print(peak_memory(), file=out)
        return
    print("ready", file=out)
    for line in sys.stdin:
        print(json.dumps(answer(peer, **json.loads(line))), file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
