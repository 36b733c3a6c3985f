"""Run models of minGPT, nanoGPT and their forks. They are GPT-2 in PyTorch's layout.

    python experiments/mingpt.py out/ckpt.pt --encoder=124M --prompt="To be"      # tokens are GPT-2's
    python experiments/mingpt.py out/ckpt.pt --text=input.txt --prompt="To be"    # tokens are characters
    python experiments/mingpt.py model.npz --n_head=6 --prompt="1 2 3"            # tokens are numbers

minGPT of 2020, and nanoGPT since June 2023, use the exact GELU. minGPT since 2022 uses the tanh form, like
GPT-2. For other files, --gelu says which. When a text fills the context, minGPT drops one token per step;
`generate` keeps the newest half.

Formats: github.com/karpathy/minGPT and nanoGPT. The GELUs: Hendrycks and Gimpel, 2016, arXiv:1606.08415.
"""

import re
from pathlib import Path

import numpy as np
from helpers.npz_file import read_npz
from helpers.progress_bar import progress_bar

from cli.exit_status import run
from encoder import END_OF_TEXT
from generation.scoring import log_softmax
from gpt2 import gelu as tanh_gelu
from gpt2 import generate, gpt2
from loading.activation_functions import EXACT_GELU, TANH_GELU, exact_gelu
from loading.parameter_tree import nest_hub_tensors, without_prefixes
from loading.pytorch_checkpoint import read_state_dict
from loading.tokenizer_files import find_and_load_encoder
from loading.untrusted_files import CheckpointError, error_context
from loading.weight_order import check_finite
from utils import find_model_dir

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
        gelu: "exact" or "tanh"; None finds it in the file.

    Raises:
        CheckpointError: the file is damaged, or a tensor is missing, unknown or has the wrong shape.
        ValueError: gelu is None, and the file does not tell.
    """
    path = Path(path).expanduser()
    stored, model_args = read_tensors(path)
    with error_context(path):
        tensors = to_hub_layout(stored)
        params = nest_hub_tensors(tensors, infer_sizes(tensors))
        check_finite(params, path)
        gelu = gelu or find_gelu(stored, model_args, is_tied="lm_head" not in params)
    if gelu is None:
        raise ValueError(f"{path} does not say which GELU the model uses: pass --gelu=exact or --gelu=tanh")
    for block in params["blocks"]:
        block["mlp"]["act"] = ACTIVATIONS[gelu]
    return params, model_args.get("n_head")


def find_gelu(stored, model_args, is_tied):
    """Find out which GELU a model uses -> "exact", "tanh", or None if the file does not tell.

    Args:
        stored: the tensors as in the file.
        model_args: nanoGPT's, or {}. Forks name their activation function there.
        is_tied: whether wte doubles as the lm_head, as in nanoGPT.

    Raises:
        CheckpointError: model_args names another activation function.
    """
    for name in ("activation", "activation_function", "hidden_act", "act"):
        if name in model_args:
            for gelu, names in {"exact": EXACT_GELU, "tanh": TANH_GELU}.items():
                if model_args[name] in names:
                    return gelu
            raise CheckpointError(f"{name} {model_args[name]!r:.80} is not supported, only GELU")
    has_masks = any(name.endswith(".attn.bias") for name in stored)
    if "tok_emb.weight" in stored or (model_args and is_tied and not has_masks):
        return "exact"  # minGPT of 2020; nanoGPT, but not before June 2023, with masks
    return "tanh" if has_masks and not is_tied else None  # minGPT since 2022


def read_tensors(path):
    """Read a file of torch.save or np.savez. Returns {name: float32 array} and model_args (nanoGPT) or {}."""
    if Path(path).suffix == ".npz":
        tensors, content = read_npz(path), {}
    else:
        tensors, content = read_state_dict(path)
    model_args = content.get("model_args")
    tensors = {name: tensor.astype(np.float32, copy=False) for name, tensor in tensors.items()}
    return tensors, model_args if type(model_args) is dict else {}


def to_hub_layout(tensors):
    """Convert minGPT's tensors to Hugging Face's names, weights [n_in, n_out], and a bias for each layer."""
    hub = {}
    for name, tensor in without_prefixes(tensors).items():
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
    for part in (r"h\..*\.c_", r"(h\..*\.)?ln_"):  # linear layers and norms: some models have no biases
        names = [name for name in hub if re.match(part, name)]
        if not any(name.endswith(".bias") for name in names):
            for name in names:
                n_out = hub[name].shape[-1:]
                hub[name.replace(".weight", ".bias")] = np.zeros(n_out, np.float32)
    if not any(name.endswith(MASKS) for name in tensors):  # not minGPT, which does not tie the embeddings
        for name, other in (("lm_head.weight", "wte.weight"), ("wte.weight", "lm_head.weight")):
            if name not in hub and other in hub:
                hub[name] = hub[other]  # some files store only one of two tied tensors
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
    sizes = {"n_vocab": n_vocab, "n_ctx": n_ctx, "n_embd": n_embd, "n_inner": n_inner, "n_layer": n_layer}
    return {**sizes, "tie_word_embeddings": False}  # nanoGPT, which ties them, stores both


def load_tokens(encoder, text, words, n_vocab):
    """Load what the tokens stand for -> (function from a text to ids, function from ids to a text).

    Args:
        encoder: a model or folder whose BPE tokenizer the model uses, or None.
        text, words: the path of the training text, or None. The tokens are its characters or its words.
        n_vocab: the number of tokens. Without any of these three, a text is the numbers of its tokens.

    Raises:
        ValueError: the tokens do not fit the model.
    """
    if encoder is not None:
        folder = Path(encoder).expanduser()
        tokenizer = find_and_load_encoder(folder if folder.is_dir() else find_model_dir(encoder))
        if max(tokenizer.decoder) >= n_vocab:
            raise ValueError(f"{encoder} has {len(tokenizer.decoder)} tokens, but the model has {n_vocab}")
        tokenizer.decoder = dict.fromkeys(range(n_vocab), "") | tokenizer.decoder  # nanoGPT pads n_vocab
        return lambda prompt: tokenizer.encode(prompt, {END_OF_TEXT}), tokenizer.decode  # as in nanoGPT
    if text is None and words is None:
        tokens = [str(token_id) for token_id in range(n_vocab)]
    else:
        tokens = read_tokens(text or words, is_words=text is None, n_vocab=n_vocab)

    def to_ids(prompt):
        pieces = prompt if text is not None else prompt.split()
        for piece in pieces:
            if piece not in tokens:
                ends = f"{tokens[0]!r} to {tokens[-1]!r}"
                raise ValueError(f"{piece!r} is not a token of the model: they are {ends}")
        return [tokens.index(piece) for piece in pieces]

    separator = "" if text is not None else " "
    return to_ids, lambda ids: separator.join(tokens[token_id] for token_id in ids)


def read_tokens(path, is_words, n_vocab):
    """The sorted distinct characters or words of a text file. Raises ValueError unless they are n_vocab."""
    with error_context(path):
        text = Path(path).expanduser().read_text(encoding="utf-8")
    tokens = sorted(set(text.split() if is_words else text))
    if len(tokens) != n_vocab:
        kind = "words" if is_words else "characters"
        raise ValueError(f"{path} has {len(tokens)} distinct {kind}, but the model has {n_vocab} tokens")
    return tokens


def main(
    checkpoint: str,
    prompt: str = None,
    encoder: str = None,
    text: str = None,
    words: str = None,
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
        prompt: a text for --encoder, --text or --words, or else token ids such as "1 2 3". The default is the
            id 0.
        encoder: the model or folder with the tokenizer, such as 124M for the BPE of GPT-2.
        text: the training text of a character-level model. Its distinct characters are the tokens.
        words: the training text of a word-level model. Its distinct words are the tokens.
        n_tokens_to_generate: the number of new tokens.
        n_head: the number of attention heads. Only nanoGPT's files contain it.
        gelu: exact or tanh. The default is that of the model, if the file tells.
        temperature: 0 is greedy. Below 1 sharpens the distribution, above 1 flattens it.
        top_k: sample from the k most probable tokens. 0 disables it.
        seed: an integer that makes sampling repeatable.
    """
    if gelu not in (None, *ACTIVATIONS):
        raise ValueError(f"gelu must be exact or tanh, not {gelu!r}")
    if sum(source is not None for source in (encoder, text, words)) > 1:
        raise ValueError("give only one of these: --encoder, --text, --words")
    params, n_head_in_file = load(checkpoint, gelu)
    n_head = n_head_in_file if n_head is None else n_head
    n_vocab, n_embd = params["wte"].shape
    if type(n_head) is not int or n_head < 1 or n_embd % n_head:
        raise ValueError(f"pass --n_head, a divisor of n_embd, {n_embd}; now it is {n_head}")

    to_ids, to_text = load_tokens(encoder, text, words, n_vocab)
    ids = [0] if prompt is None else to_ids(prompt)
    sampling = {"temperature": temperature, "top_k": top_k, "seed": seed}
    new_ids = generate(ids, params, n_head, n_tokens_to_generate, **sampling)
    ids += progress_bar(new_ids, n_tokens_to_generate, "token")
    print(to_text(ids))


if __name__ == "__main__":
    run(main)
