"""Runs models of minGPT, nanoGPT and their forks: they are GPT-2, under other names and in PyTorch's layout.

    python experiments/mingpt.py out/ckpt.pt --text=input.txt --prompt="To be"        # tokens are characters
    python experiments/mingpt.py out/ckpt.pt --tokenizer=models/124M --prompt="To be" # tokens are GPT-2's
    python experiments/mingpt.py model.pt --n_head=6 --prompt="1 2 3"                 # any: the prompt is ids

To have a model at once, let PyTorch train a small nanoGPT on names, which takes half a minute:

    python experiments/tests/torch_models.py names.pt
    python experiments/mingpt.py names.pt --text=experiments/data/names.txt --seed=1

PyTorch also reads the files; without it the model must be an .npz, which this line writes:

    np.savez("model.npz", **{name: x.float().numpy() for name, x in model.state_dict().items()})

A file does not say which GELU it was trained with. minGPT since 2022 has GPT-2's; minGPT of 2020, which its
names give away, and nanoGPT, whose files have model_args, have the exact one. When a text fills the context
they drop its first token, and compute all others anew, each time; `generate` keeps the newest half.

Formats: github.com/karpathy/minGPT and nanoGPT. The GELUs: Hendrycks and Gimpel, 2016, arXiv:1606.08415.
"""

import math
import re
from pathlib import Path

import common  # noqa: F401  the way to gpt2.py
import numpy as np

import gpt2
from cli import run
from encoder import get_encoder
from files import CheckpointError, faults_of
from parameters import build_params
from sampling import log_softmax

MASKS = (".attn.bias", ".attn.masked_bias", ".attn.mask")  # constants, not parameters
NAMES = {  # theirs, since 2022 or of 2020 -> ours
    r"^(_orig_mod\.)?(transformer\.)?": "",  # the first is torch.compile's
    r"^(wte\.weight|tok_emb\.weight)$": "wte",
    r"^(wpe\.weight|pos_emb)$": "wpe",
    r"^(lm_head|head)\.weight$": "lm_head",
    r"^(h|blocks)\.(\d+)\.": r"h\2/",
    r"\bln_?([12f])\.": r"ln_\1/",
    r"\battn\.(c_proj|proj)\.": "attn/c_proj/",
    r"\battn\.(c_attn|query|key|value)\.": r"attn/\1/",
    r"\bmlp\.(c_fc|0)\.": "mlp/c_fc/",
    r"\bmlp\.(c_proj|2)\.": "mlp/c_proj/",
    r"(ln_./)weight$": r"\1g",
    r"/weight$": "/w",
    r"/bias$": "/b",
}

erfc = np.vectorize(math.erfc, otypes=[np.float32])  # NumPy has none


def exact_gelu(x):
    """Gaussian error linear unit: x times the probability of a normal number below x. [...] -> [...]."""
    return x * erfc(x * -(0.5**0.5)) * 0.5


def loss(ids, targets, params, n_head):
    """The mean cross entropy of the targets, in nats, without those that are -1: that of minGPT's forward.

    ids and targets [n_seq] or [n_batch, n_seq] -> float. ValueError if there is not one target for each id,
    or one is not in the vocabulary, or all are -1.
    """
    targets, n_vocab = np.asarray(targets), len(params["wte"])
    counts = targets != -1
    if targets.shape != np.shape(ids) or not counts.any() or targets.min() < -1 or targets.max() >= n_vocab:
        raise ValueError(
            f"there must be a target for each id, from 0 to {n_vocab - 1}, or -1 for some of them"
        )
    logits = gpt2.gpt2(ids, **params, n_head=n_head)  # [n_seq] -> [n_seq, n_vocab]
    log_probs = log_softmax(logits[counts])  # [n_seq, n_vocab] -> [n_targets, n_vocab]
    return -log_probs[np.arange(len(log_probs)), targets[counts]].mean()


def load(path):
    """Read a model -> params as `gpt2` takes them, n_head or None, and whether its GELU is the exact one.

    CheckpointError if the file is damaged, or a tensor is missing, unknown or misshapen.
    """
    tensors, model_args = read_tensors(path)
    is_exact = bool(model_args) or "h0/attn/query/w" in tensors
    with faults_of(path):
        return nest(tensors), model_args.get("n_head"), is_exact


def read_tensors(path):
    """A file of torch.save or np.savez -> {our name: float32 array}, and nanoGPT's model_args or {}."""
    model_args = {}
    try:
        if Path(path).suffix == ".npz":
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                tensors = {name: array.astype(np.float32) for name, array in arrays.items()}
        else:
            import torch

            checkpoint = torch.load(path, map_location="cpu", weights_only=True)  # runs nothing that is in it
            model_args = dict(checkpoint.get("model_args", {}))
            tensors = checkpoint.get("model", checkpoint)
            tensors = {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
        return {our_name(name): x for name, x in tensors.items() if not name.endswith(MASKS)}, model_args
    except ImportError:
        raise ValueError(f"{path}: PyTorch must read it: pip install torch; or save it as .npz") from None
    except (OSError, MemoryError):
        raise
    except Exception:  # there is no end to what a damaged file can raise
        raise CheckpointError(
            f"{path}: it is damaged, or not a state dict saved by torch or as .npz"
        ) from None


def our_name(name):
    """transformer.h.0.attn.c_proj.weight, or blocks.0.attn.proj.weight in 2020 -> h0/attn/c_proj/w."""
    for theirs, ours in NAMES.items():
        name = re.sub(theirs, ours, name)
    return name


def take(tensors, name):
    if name not in tensors:
        raise CheckpointError(f"there is no {name}, under that name or minGPT's")
    return tensors.pop(name)


def join_attention(tensors):
    """Make c_attn of the queries, keys and values, which minGPT of 2020 has apart."""
    for query in [name for name in tensors if "/query/" in name]:
        parts = [take(tensors, query.replace("query", part)) for part in ("query", "key", "value")]
        tensors[query.replace("query", "c_attn")] = np.concatenate(np.stack(parts))  # -> [3*n_embd, n_embd]


def add_biases(tensors):
    """Add biases of 0 where there are none at all, as in nanoGPT with bias=False."""
    if not any(name.endswith("/b") for name in tensors):
        for name in [name for name in tensors if name.endswith(("/g", "/w"))]:
            tensors[f"{name[:-1]}b"] = np.zeros(tensors[name].shape[:1], np.float32)  # [n_out]


def nest(tensors):
    """{our name: tensor} -> params as `gpt2` takes them. Weights [n_out, n_in] become [n_in, n_out]."""
    join_attention(tensors)
    add_biases(tensors)
    wpe, lm_head = take(tensors, "wpe"), take(tensors, "lm_head")
    tensors["wpe"] = wpe.reshape(wpe.shape[-2:])  # [n_ctx, n_embd], which in 2020 is [1, n_ctx, n_embd]
    tensors = {name: tensor.T if name.endswith("/w") else tensor for name, tensor in tensors.items()}

    def shape(name):  # [0, 0] where it is missing, which build_params finds
        return np.atleast_2d(tensors.get(name, np.empty((0, 0)))).shape

    hparams = {
        "n_vocab": shape("wte")[0],
        "n_ctx": shape("wpe")[0],
        "n_embd": shape("wte")[1],
        "n_inner": shape("h0/mlp/c_fc/w")[1],
        "n_layer": len({name.split("/")[0] for name in tensors if re.match(r"h\d+/", name)}),
    }
    params = build_params(tensors, hparams, stored_name=str)
    if lm_head.shape != params["wte"].shape:
        raise CheckpointError(f"lm_head is {list(lm_head.shape)}, wte is {list(params['wte'].shape)}")
    if not np.array_equal(lm_head, params["wte"]):  # in nanoGPT they are one
        params["lm_head"] = lm_head
    return params


class Characters:
    """A tokenizer as in chargpt and shakespeare_char: the different characters of a file, in order."""

    def __init__(self, path, n_vocab):
        with faults_of(path):
            self.chars = sorted(set(Path(path).read_text(encoding="utf-8")))
        if len(self.chars) != n_vocab:
            raise ValueError(
                f"{path} has {len(self.chars)} different characters, and the model {n_vocab} tokens"
            )

    def encode(self, text):
        unknown = set(text) - set(self.chars)
        if unknown:
            raise ValueError(f"the character {min(unknown)!r} is not one of the model's")
        return [self.chars.index(char) for char in text]

    def decode(self, ids):
        return "".join(self.chars[id] for id in ids)


class Numbers:
    """No tokenizer: a text is the ids themselves, "1 2 3"."""

    def encode(self, text):
        if not re.fullmatch(r"[\s\d]*", text, re.ASCII):
            raise ValueError("the prompt must be ids, such as 1 2 3; with --text or --tokenizer it is a text")
        return [int(word) for word in text.split()]

    def decode(self, ids):
        return " ".join(map(str, ids))


def main(
    checkpoint: str,
    prompt: str = None,
    text: str = None,
    tokenizer: str = None,
    n_tokens_to_generate: int = 200,
    n_head: int = None,
    gelu: str = None,
    temperature: float = 0.8,
    top_k: int = 0,
    seed: int = None,
    eval_only: bool = False,
):
    """Continue a prompt with a model of minGPT, nanoGPT or one of their forks.

    Args:
        checkpoint: a file with a state dict, of torch.save or np.savez, or nanoGPT's ckpt.pt.
        prompt: a text, if there is a text or a tokenizer, or else token ids: "1 2 3". By default the id 0.
        text: the file whose characters the model was trained on.
        tokenizer: a folder with GPT-2's tokenizer, such as models/124M.
        n_tokens_to_generate: how many tokens to add.
        n_head: the number of attention heads; only nanoGPT's files have it in them.
        gelu: exact or tanh; by default exact for nanoGPT and for minGPT of 2020.
        temperature: 0 always takes the likeliest token, more is more daring.
        top_k: draw only from this many of the likeliest tokens; 0 is all.
        seed: a whole number; with the same one chance repeats itself.
        eval_only: do not continue the prompt, but print its loss.
    """
    if gelu not in (None, "exact", "tanh"):
        raise ValueError(f"gelu must be exact or tanh, not {gelu!r}")
    params, n_head_in_file, is_exact = load(checkpoint)
    n_head = n_head_in_file if n_head is None else n_head
    n_vocab, n_embd = params["wte"].shape
    if type(n_head) is not int or n_head < 1 or n_embd % n_head:
        raise ValueError(f"give --n_head=, a number that divides n_embd, {n_embd}; now it is {n_head}")
    if gelu == "exact" or (gelu is None and is_exact):
        gpt2.gelu = exact_gelu  # that is where ffn finds it

    if tokenizer is not None:
        coder = get_encoder(tokenizer, "")
    else:
        coder = Numbers() if text is None else Characters(text, n_vocab)
    ids = gpt2.check_prompt([0] if prompt is None else coder.encode(prompt), params)
    if eval_only:
        print(f"{loss(ids[:-1], ids[1:], params, n_head):.4f}")
    else:
        from tqdm import tqdm  # here, where it slows no other start

        sampling = {"temperature": temperature, "top_k": top_k, "seed": seed}
        new_ids = gpt2.generate(ids, params, n_head, n_tokens_to_generate, **sampling)
        bar = tqdm(new_ids, "Generating", n_tokens_to_generate, delay=2, leave=False, disable=None)
        print(coder.decode([*ids, *bar]))


if __name__ == "__main__":
    run(main)
