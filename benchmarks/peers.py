"""How each engine runs the same GPT-2 weights. Each engine gets its own process, and so its own thread pool.

    python benchmarks/peers.py NAME FOLDER TEMPORARY_FOLDER

loads the peer NAME, one of PEERS, with the model in FOLDER (OpenAI's five files). Converted weights go to
TEMPORARY_FOLDER. The process prints "ready", then answers each line of JSON on stdin with one on stdout:
    {"ids": the prompt, "n_tokens": the number of tokens to decode after the first, "logits": a path or null}
    {"prompt_s": seconds to the first new token, "decode_s": [seconds for each later token], "ids": new ids}
Decoding is greedy. The logits of all new tokens go to the path, [1 + n_tokens, n_vocab].
OMP_NUM_THREADS sets the number of threads.
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

import gpt2
import gpt2_pico
from utils import load_encoder_hparams_and_params

N_THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))


class Peer:
    """An engine with the model loaded.

    A subclass implements `forward`, ids [n_seq] -> logits after the last id [n_vocab], or `run`.
    """

    packages = ()  # names on PyPI
    precisions = ("float32",)
    is_model = True  # the logits must agree with ours
    tolerance = 1e-3  # largest difference of a logit from ours, in float32
    n_tokens = 16  # to decode in a measurement

    def begin(self):
        """Start a new text."""

    def run(self, ids, n_tokens, keep_logits):
        """Decode 1 + n_tokens tokens. Returns the ids, the time of each, and the logits [n_vocab] of each."""
        new, times, kept = [], [], []
        self.begin()
        for _ in range(1 + n_tokens):
            logits = self.forward(new[-1:] or ids)
            new.append(int(np.argmax(logits)))
            times.append(time.perf_counter())
            if keep_logits:
                kept.append(np.array(logits))
        return new, times, kept


class ThisProject(Peer):
    engine = "this project"

    def __init__(self, folder, temporary_folder, precision):
        _, hparams, self.params = load_encoder_hparams_and_params(folder)
        self.n_head = hparams["n_head"]

    def begin(self):
        self.cache, self.n_past = None, 0

    def forward(self, ids):
        if self.cache is None:
            self.cache = gpt2.new_cache(self.params, self.n_head, n_slots=len(ids) + self.n_tokens)
        logits = gpt2.prefill(ids, self.params, self.n_head, self.cache, self.n_past)
        self.n_past += len(ids)
        return logits


class PicoGPT(ThisProject):
    """No cache: each token computes the whole text again, with logits for all positions."""

    engine = "picoGPT's algorithm"
    n_tokens = 3  # slow

    def begin(self):
        self.ids = []

    def forward(self, ids):
        self.ids += ids
        return gpt2_pico.gpt2(self.ids, **self.params, n_head=self.n_head)[-1]


class MatrixProducts(Peer):
    """Only the model's matrix products, each weight in the faster of two memory orders.

    This is the limit of what NumPy can reach. The logits mean nothing.
    """

    engine = "bare matrix products"
    is_model = False

    def __init__(self, folder, temporary_folder, precision):
        _, _, params = load_encoder_hparams_and_params(folder)
        parts = [(part, name) for part in ("attn", "mlp") for name in params["blocks"][0][part]]
        kinds = [[block[part][name]["w"] for block in params["blocks"]] for part, name in parts]
        self.for_one_row = [w for kind in kinds for w in faster_order(kind, 1)]
        self.for_rows = [w for kind in kinds for w in faster_order(kind, 128)]
        self.unembedding = faster_order([params["wte"].T], 1)

    def forward(self, ids):
        multiply(self.for_one_row if len(ids) == 1 else self.for_rows, len(ids))
        return multiply(self.unembedding, 1)[0]


def multiply(weights, n):
    """Multiply ones [n, n_in] with each weight [n_in, n_out]. Returns the last product."""
    inputs = {n_in: np.ones((n, n_in), np.float32) for n_in in {w.shape[0] for w in weights}}
    for w in weights:
        product = inputs[w.shape[0]] @ w
    return product


def faster_order(weights, n):
    """The weights in row-major or column-major order, whichever is faster for n rows."""

    def seconds(candidate):
        return np.median(timeit.repeat(lambda: multiply(candidate, n), number=1, repeat=5))

    row_major = [np.ascontiguousarray(w) for w in weights]
    column_major = [np.asfortranarray(w) for w in weights]
    return min(row_major, column_major, key=seconds)


def torch_model(folder):
    """transformers' GPT2LMHeadModel, float32, with its default attention."""
    import torch
    from support.transformers_model import reference_model

    torch.set_num_threads(N_THREADS)
    _, hparams, params = load_encoder_hparams_and_params(folder)
    model = reference_model(params, hparams)
    model.set_attn_implementation("sdpa")
    return model


class Transformers(Peer):
    engine = "transformers"
    packages = ("torch", "transformers")
    precisions = ("float32", "bfloat16")

    def __init__(self, folder, temporary_folder, precision):
        import torch

        self.torch = torch
        self.model = torch_model(folder).to(getattr(torch, precision))

    def begin(self):
        self.cache = None

    def forward(self, ids):
        with self.torch.inference_mode():
            ids = self.torch.tensor([ids])
            out = self.model(ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        return out.logits[0, -1].float().numpy()


class CTranslate2(Peer):
    """It generates whole texts only, and calls back for each token."""

    engine = "CTranslate2"
    packages = ("torch", "transformers", "ctranslate2")
    precisions = ("float32", "int8")

    def __init__(self, folder, temporary_folder, precision):
        import ctranslate2

        source, converted = Path(temporary_folder, "source"), str(Path(temporary_folder, "ctranslate2"))
        torch_model(folder).save_pretrained(source)
        (source / "vocab.json").write_bytes(Path(folder, "encoder.json").read_bytes())
        (source / "merges.txt").write_bytes(Path(folder, "vocab.bpe").read_bytes())
        ctranslate2.converters.TransformersConverter(str(source)).convert(converted, quantization=precision)
        self.generator = ctranslate2.Generator(converted, compute_type=precision, intra_threads=N_THREADS)
        self.tokens = list(json.loads((source / "vocab.json").read_text(encoding="utf-8")))  # id -> token

    def run(self, ids, n_tokens, keep_logits):
        new, times = [], []

        def on_token(step):
            new.append(step.token_id)
            times.append(time.perf_counter())

        result = self.generator.generate_batch(
            [[self.tokens[token_id] for token_id in ids]],
            max_length=1 + n_tokens,
            end_token=[],  # no early end
            include_prompt_in_result=False,  # compute the prompt in one pass
            return_logits_vocab=keep_logits,
            callback=on_token,
        )
        return new, times, np.array(result[0].logits[0]) if keep_logits else []


class LlamaCpp(Peer):
    engine = "llama.cpp"
    packages = ("llama-cpp-python", "gguf")
    precisions = ("float32", "float16", "q8_0")
    tolerance = 1e-2  # it rounds keys, values and the input of gelu to float16

    def __init__(self, folder, temporary_folder, precision):
        import llama_cpp

        self.llama_cpp = llama_cpp
        path = str(Path(temporary_folder, "model.gguf"))
        self.n_vocab = write_gguf(folder, path, precision)
        options = llama_cpp.llama_model_default_params()
        options.use_extra_bufts = False  # no Intel AMX: q8_0 can crash there, llama.cpp pull 26954
        model = llama_cpp.llama_model_load_from_file(path.encode(), options)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = 1024, 1024, 512
        options.n_threads = options.n_threads_batch = N_THREADS
        self.context = llama_cpp.llama_init_from_model(model, options)

    def begin(self):
        self.llama_cpp.llama_memory_clear(self.llama_cpp.llama_get_memory(self.context), True)

    def forward(self, ids):
        tokens = (self.llama_cpp.llama_token * len(ids))(*ids)
        batch = self.llama_cpp.llama_batch_get_one(tokens, len(ids))
        if self.llama_cpp.llama_decode(self.context, batch):
            raise RuntimeError("llama_decode failed")
        logits = self.llama_cpp.llama_get_logits_ith(self.context, -1)  # valid until the next call
        return np.ctypeslib.as_array(logits, (self.n_vocab,))


def write_gguf(folder, path, precision):
    """Write a GGUF file for llama.cpp, without a vocabulary. Returns n_vocab."""
    import gguf

    types = {"float32": "F32", "float16": "F16", "q8_0": "Q8_0"}
    _, hparams, params = load_encoder_hparams_and_params(folder)
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(hparams["n_layer"])
    writer.add_context_length(hparams["n_ctx"])
    writer.add_embedding_length(hparams["n_embd"])
    writer.add_feed_forward_length(4 * hparams["n_embd"])
    writer.add_head_count(hparams["n_head"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(hparams["n_vocab"])
    parts = {"token_embd": {"w": params["wte"].T}, "position_embd": {"g": params["wpe"]}}
    parts["output_norm"] = params["ln_f"]
    for layer, block in enumerate(params["blocks"]):
        parts[f"blk.{layer}.attn_norm"] = block["ln_1"]
        parts[f"blk.{layer}.attn_qkv"] = block["attn"]["c_attn"]
        parts[f"blk.{layer}.attn_output"] = block["attn"]["c_proj"]
        parts[f"blk.{layer}.ffn_norm"] = block["ln_2"]
        parts[f"blk.{layer}.ffn_up"] = block["mlp"]["c_fc"]
        parts[f"blk.{layer}.ffn_down"] = block["mlp"]["c_proj"]
    for name, part in parts.items():
        for kind, array in part.items():
            quantization = gguf.GGMLQuantizationType[types[precision if kind == "w" else "float32"]]
            array = np.ascontiguousarray(array.T if kind == "w" else array)  # [n_in, n_out] -> [n_out, n_in]
            quantized = gguf.quants.quantize(array, quantization)
            suffix = "bias" if kind == "b" else "weight"
            writer.add_tensor(f"{name}.{suffix}", quantized, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return hparams["n_vocab"]


PEERS = {  # name -> the class, the precision
    f"{peer.engine} {precision}": (peer, precision)
    for peer in (ThisProject, PicoGPT, MatrixProducts, Transformers, CTranslate2, LlamaCpp)
    for precision in peer.precisions
}


def answer(peer, ids, n_tokens, logits):
    """Measure one request, see the module docstring."""
    start = time.perf_counter()
    new, times, kept = peer.run(ids, n_tokens, logits is not None)
    if logits is not None:
        np.save(logits, np.array(kept, np.float32))
    return {"prompt_s": times[0] - start, "decode_s": np.diff(times).tolist(), "ids": new}


def main(name, folder, temporary_folder):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an engine prints goes to stderr
    peer, precision = PEERS[name]
    peer = peer(folder, temporary_folder, precision)
    print("ready", file=out)
    for line in sys.stdin:
        print(json.dumps(answer(peer, **json.loads(line))), file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
