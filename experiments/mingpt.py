"""Runs models of minGPT, nanoGPT and their forks: they are GPT-2, in PyTorch's layout.

    python experiments/mingpt.py out/ckpt.pt --text=input.txt --prompt="To be"    # tokens are characters
    python experiments/mingpt.py model.npz --n_head=6 --prompt="1 2 3"            # or ids

PyTorch reads its own files; without it the model must be an .npz, which this writes:

    np.savez("model.npz", **{name: x.float().numpy() for name, x in model.state_dict().items()})

A file does not say which GELU it was trained with. minGPT of 2020 and nanoGPT, whose lm_head is its wte, have
the exact one; minGPT since 2022 has GPT-2's. When a text fills the context they drop its first token each
time; `generate` keeps the newest half.

Formats: github.com/karpathy/minGPT and nanoGPT. The GELUs: Hendrycks and Gimpel, 2016, arXiv:1606.08415.
"""

import math
import re
from pathlib import Path

import numpy as np
from common import progress, read_npz

import gpt2
from cli import run
from files import CheckpointError, faults_of
from parameters import nest_hub_tensors
from sampling import log_softmax

# minGPT's names of 2020 -> those since 2022, which are Hugging Face's.
NAMES_OF_2020 = {
    r"^tok_emb": "wte",
    r"^pos_emb": "wpe.weight",
    r"^blocks": "h",
    r"\bln1\b": "ln_1",
    r"\bln2\b": "ln_2",
    r"\battn\.proj": "attn.c_proj",
    r"\bmlp\.0": "mlp.c_fc",
    r"\bmlp\.2": "mlp.c_proj",
    r"^head": "lm_head",
}

MASKS = (".attn.bias", ".attn.masked_bias", ".attn.mask")  # constants, not parameters

erfc = np.vectorize(math.erfc, otypes=[np.float32])  # NumPy has none


def exact_gelu(x):
    """Gaussian error linear unit: x times the probability of a normal number below x. [...] -> [...]."""
    return 0.5 * x * erfc(-(0.5**0.5) * x)


def loss(ids, targets, params, n_head):
    """The mean cross entropy of the targets, in nats, without those that are -1, as minGPT's forward has it.

    ids and targets [n_seq] or [n_batch, n_seq] -> float.
    """
    targets = np.asarray(targets)
    counts = targets != -1
    logits = gpt2.gpt2(ids, **params, n_head=n_head)  # [n_seq] -> [n_seq, n_vocab]
    log_probs = log_softmax(logits[counts])  # [n_seq, n_vocab] -> [n_targets, n_vocab]
    return -log_probs[np.arange(len(log_probs)), targets[counts]].mean()


def load(path):
    """Read a model -> params as `gpt2` takes them, n_head or None, and whether its GELU is the exact one.

    CheckpointError if the file is damaged, or a tensor is missing, unknown or misshapen.
    """
    tensors, model_args = read_tensors(path)
    is_of_2020 = "tok_emb.weight" in tensors
    with faults_of(path):
        tensors = to_hub_layout(tensors)
        params = nest_hub_tensors(tensors, find_sizes(tensors))
    return params, model_args.get("n_head"), is_of_2020 or "lm_head" not in params


def read_tensors(path):
    """A file of torch.save or np.savez -> {name: float32 array}, and nanoGPT's model_args or {}."""
    if Path(path).suffix == ".npz":
        return {name: array.astype(np.float32) for name, array in read_npz(path).items()}, {}
    try:
        import torch

        content = torch.load(path, map_location="cpu", weights_only=True)  # runs nothing that is in it
        tensors = content.get("model", content)  # nanoGPT has more in its files
        tensors = {str(name): tensor.float().numpy() for name, tensor in tensors.items()}
        return tensors, dict(content.get("model_args", {}))
    except ImportError:
        raise ValueError(f"{path}: PyTorch must read it: pip install torch; or save it as .npz") from None
    except (OSError, MemoryError):
        raise
    except Exception:  # there is no end to what a damaged file can raise
        raise CheckpointError(f"{path}: it is no state dict saved by torch") from None


def to_hub_layout(tensors):
    """minGPT's tensors -> Hugging Face's: other names, weights [n_in, n_out], and biases everywhere."""
    hub = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("_orig_mod.").removeprefix("transformer.")  # the first is torch.compile's
        for old, new in NAMES_OF_2020.items():
            name = re.sub(old, new, name)
        is_linear = name.startswith("h.") and tensor.ndim == 2
        if not name.endswith(MASKS):
            hub[name] = tensor.T if is_linear else tensor  # [n_out, n_in] -> [n_in, n_out]
    wpe = take(hub, "wpe.weight")
    hub["wpe.weight"] = wpe.reshape(wpe.shape[-2:])  # in 2020 [1, n_ctx, n_embd], -> [n_ctx, n_embd]
    for name in [name for name in hub if ".query." in name]:
        parts = [take(hub, name.replace("query", part)) for part in ("query", "key", "value")]
        joined = np.concatenate(parts, axis=-1)  # w [n_embd, 3*n_embd], b [3*n_embd]
        hub[name.replace("query", "c_attn")] = joined
    if not any(name.endswith(".bias") for name in hub):
        for name in [name for name in hub if re.match(r"h\.|ln_f\.", name)]:
            n_out = hub[name].shape[-1:]
            hub[name.replace(".weight", ".bias")] = np.zeros(n_out, np.float32)
    return hub


def take(tensors, name):
    """Remove a tensor from the others and return it; CheckpointError if it is not there."""
    if name not in tensors:
        raise CheckpointError(f"there is no {name}")
    return tensors.pop(name)


def find_sizes(tensors):
    """The hparams that the shapes of Hugging Face's tensors tell; n_head is not among them."""
    try:
        n_vocab, n_embd = tensors["lm_head.weight"].shape
        n_ctx, _ = tensors["wpe.weight"].shape
        _, n_inner = tensors["h.0.mlp.c_fc.weight"].shape
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"lm_head, wpe or the first c_fc is not there, or no matrix: {error}") from None
    n_layer = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    return {"n_vocab": n_vocab, "n_ctx": n_ctx, "n_embd": n_embd, "n_inner": n_inner, "n_layer": n_layer}


def characters_of(path, n_vocab):
    """The different characters of a file, in their order: ValueError unless they are n_vocab."""
    with faults_of(path):
        characters = sorted(set(Path(path).expanduser().read_text(encoding="utf-8")))
    if len(characters) != n_vocab:
        raise ValueError(f"{path} has {len(characters)} different characters, the model {n_vocab} tokens")
    return characters


def main(
    checkpoint: str,
    prompt: str = None,
    text: str = None,
    n_tokens_to_generate: int = 200,
    n_head: int = None,
    gelu: str = None,
    temperature: float = 0.8,
    top_k: int = 0,
    seed: int = None,
):
    """Continue a prompt with a model of minGPT, nanoGPT or one of their forks.

    Args:
        checkpoint: a file with a state dict, of torch.save or np.savez, or nanoGPT's ckpt.pt.
        prompt: token ids, "1 2 3", or with --text the characters they stand for; by default the id 0.
        text: the file that the model was trained on, whose characters are its tokens.
        n_tokens_to_generate: how many tokens to add.
        n_head: the number of attention heads; only nanoGPT's files have it in them.
        gelu: exact or tanh; by default exact for minGPT of 2020, and where lm_head is wte, as in nanoGPT.
        temperature: 0 always takes the likeliest token, more is more daring.
        top_k: draw only from this many of the likeliest tokens; 0 is all.
        seed: a whole number; with the same one chance repeats itself.
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

    tokens = [str(id) for id in range(n_vocab)] if text is None else characters_of(text, n_vocab)
    words = tokens[:1]
    if prompt is not None:
        words = prompt.split() if text is None else prompt
    for word in words:
        if word not in tokens:
            raise ValueError(f"{word!r} is not one of the model's tokens, {tokens[0]!r} to {tokens[-1]!r}")
    ids = [tokens.index(word) for word in words]
    sampling = {"temperature": temperature, "top_k": top_k, "seed": seed}
    new_ids = gpt2.generate(ids, params, n_head, n_tokens_to_generate, **sampling)
    ids += progress(new_ids, n_tokens_to_generate, "token")
    print((" " if text is None else "").join(tokens[id] for id in ids))


if __name__ == "__main__":
    run(main)
