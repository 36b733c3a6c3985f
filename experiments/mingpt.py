"""Run models of minGPT, nanoGPT and their forks. They are GPT-2 in PyTorch's layout.

    python experiments/mingpt.py out/ckpt.pt --text=input.txt --prompt="To be"    # tokens are characters
    python experiments/mingpt.py model.npz --n_head=6 --prompt="1 2 3"            # tokens are numbers

Reading a .pt file needs PyTorch. Without PyTorch, convert the model to an .npz file:

    np.savez("model.npz", **{name: x.float().numpy() for name, x in model.state_dict().items()})

The file does not say which GELU the model uses. minGPT of 2020 and nanoGPT use the exact GELU, minGPT since
2022 uses the tanh form, like GPT-2. (In nanoGPT's files, wte doubles as the lm_head.) When a text fills the
context, minGPT drops one token per step; `generate` keeps the newest half.

Formats: github.com/karpathy/minGPT and nanoGPT. The GELUs: Hendrycks and Gimpel, 2016, arXiv:1606.08415.
"""

import math
import re
from pathlib import Path

import numpy as np
from helpers.npz_file import read_npz
from helpers.progress_bar import progress_bar

from cli.exit_status import run
from generation.scoring import log_softmax
from gpt2 import gelu as tanh_gelu
from gpt2 import generate, gpt2
from loading.parameter_tree import nest_hub_tensors
from loading.untrusted_files import CheckpointError, error_context

# The names in minGPT of 2020 -> the names since 2022, which are Hugging Face's.
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

erfc = np.vectorize(math.erfc, otypes=[np.float32])  # NumPy has no erfc


def exact_gelu(x):
    """Gaussian Error Linear Unit, exact form: x * P(N(0, 1) < x). [...] -> [...]. arXiv:1606.08415"""
    return 0.5 * x * erfc(-(0.5**0.5) * x)


ACTIVATIONS = {"exact": exact_gelu, "tanh": tanh_gelu}


def loss(ids, targets, params, n_head):
    """The mean cross entropy of the targets, in nats. Like minGPT, ignores targets that are -1.

    ids and targets [n_seq] or [n_batch, n_seq] -> float.
    """
    targets = np.asarray(targets)
    is_counted = targets != -1
    logits = gpt2(ids, **params, n_head=n_head)  # [n_seq] -> [n_seq, n_vocab]
    log_probs = log_softmax(logits[is_counted])  # [n_seq, n_vocab] -> [n_targets, n_vocab]
    return -log_probs[np.arange(len(log_probs)), targets[is_counted]].mean()


def load(path, gelu=None):
    """Read a model. Returns params as `gpt2` takes them, and n_head, which is None if the file lacks it.

    Args:
        path: a file of torch.save or np.savez.
        gelu: "exact" or "tanh"; None chooses by the layout of the file.

    Raises:
        CheckpointError: the file is damaged, or a tensor is missing, unknown or has the wrong shape.
    """
    tensors, model_args = read_tensors(path)
    is_of_2020 = "tok_emb.weight" in tensors
    with error_context(path):
        tensors = to_hub_layout(tensors)
        params = nest_hub_tensors(tensors, infer_sizes(tensors))
    if gelu is None:
        gelu = "exact" if is_of_2020 or "lm_head" not in params else "tanh"
    for block in params["blocks"]:
        block["mlp"]["act"] = ACTIVATIONS[gelu]
    return params, model_args.get("n_head")


def read_tensors(path):
    """Read a file of torch.save or np.savez. Returns {name: float32 array} and model_args (nanoGPT) or {}."""
    if Path(path).suffix == ".npz":
        return {name: array.astype(np.float32) for name, array in read_npz(path).items()}, {}
    try:
        import torch

        content = torch.load(path, map_location="cpu", weights_only=True)  # executes no code from the file
        tensors = content.get("model", content)  # nanoGPT nests the state dict
        tensors = {str(name): tensor.float().numpy() for name, tensor in tensors.items()}
        return tensors, dict(content.get("model_args", {}))
    except ImportError:
        raise ValueError(f"{path}: reading it needs PyTorch: pip install torch, or save it as .npz") from None
    except (OSError, MemoryError):
        raise
    except Exception:  # torch.load can raise any exception on a damaged file
        raise CheckpointError(f"{path}: not a state dict from torch.save") from None


def to_hub_layout(tensors):
    """Convert minGPT's tensors to Hugging Face's names, weights [n_in, n_out], and a bias for each layer."""
    hub = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("_orig_mod.").removeprefix("transformer.")  # torch.compile adds _orig_mod.
        for old, new in NAMES_OF_2020.items():
            name = re.sub(old, new, name)
        is_linear = name.startswith("h.") and tensor.ndim == 2
        if not name.endswith(MASKS):
            hub[name] = tensor.T if is_linear else tensor  # [n_out, n_in] -> [n_in, n_out]
    wpe = take(hub, "wpe.weight")
    hub["wpe.weight"] = wpe.reshape(wpe.shape[-2:])  # 2020: [1, n_ctx, n_embd] -> [n_ctx, n_embd]
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
    """Remove a tensor from the dict and return it. Raises CheckpointError if it is missing."""
    if name not in tensors:
        raise CheckpointError(f"{name} is missing")
    return tensors.pop(name)


def infer_sizes(tensors):
    """Infer all hparams but n_head from the shapes of Hugging Face's tensors."""
    try:
        n_vocab, n_embd = tensors["lm_head.weight"].shape
        n_ctx, _ = tensors["wpe.weight"].shape
        _, n_inner = tensors["h.0.mlp.c_fc.weight"].shape
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"lm_head, wpe or the first c_fc is missing or not a matrix: {error}") from None
    n_layer = len({name.split(".")[1] for name in tensors if name.startswith("h.")})
    return {"n_vocab": n_vocab, "n_ctx": n_ctx, "n_embd": n_embd, "n_inner": n_inner, "n_layer": n_layer}


def read_characters(path, n_vocab):
    """The sorted distinct characters of a text file. Raises ValueError unless there are n_vocab of them."""
    with error_context(path):
        characters = sorted(set(Path(path).expanduser().read_text(encoding="utf-8")))
    if len(characters) != n_vocab:
        raise ValueError(
            f"{path} has {len(characters)} distinct characters, but the model has {n_vocab} tokens"
        )
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
        checkpoint: a state dict from torch.save or np.savez, or nanoGPT's ckpt.pt.
        prompt: token ids such as "1 2 3", or characters if --text is given. The default is the id 0.
        text: the training text of a character-level model. Its distinct characters are the tokens.
        n_tokens_to_generate: the number of new tokens.
        n_head: the number of attention heads. Only nanoGPT's files contain it.
        gelu: exact or tanh. The default is exact for minGPT of 2020 and nanoGPT, else tanh.
        temperature: 0 is greedy. Below 1 sharpens the distribution, above 1 flattens it.
        top_k: sample from the k most probable tokens. 0 disables it.
        seed: an integer that makes sampling repeatable.
    """
    if gelu not in (None, *ACTIVATIONS):
        raise ValueError(f"gelu must be exact or tanh, not {gelu!r}")
    params, n_head_in_file = load(checkpoint, gelu)
    n_head = n_head_in_file if n_head is None else n_head
    n_vocab, n_embd = params["wte"].shape
    if type(n_head) is not int or n_head < 1 or n_embd % n_head:
        raise ValueError(f"pass --n_head, a divisor of n_embd, {n_embd}; now it is {n_head}")

    tokens = (
        [str(token_id) for token_id in range(n_vocab)] if text is None else read_characters(text, n_vocab)
    )
    words = tokens[:1]
    if prompt is not None:
        words = prompt.split() if text is None else prompt
    for word in words:
        if word not in tokens:
            raise ValueError(
                f"{word!r} is not a token of the model: they are {tokens[0]!r} to {tokens[-1]!r}"
            )
    ids = [tokens.index(word) for word in words]
    sampling = {"temperature": temperature, "top_k": top_k, "seed": seed}
    new_ids = generate(ids, params, n_head, n_tokens_to_generate, **sampling)
    ids += progress_bar(new_ids, n_tokens_to_generate, "token")
    print((" " if text is None else "").join(tokens[token_id] for token_id in ids))


if __name__ == "__main__":
    run(main)
