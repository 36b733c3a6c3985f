"""Run, score or export a model of minGPT, nanoGPT or their forks. They are GPT-2 in PyTorch's layout.

    python experiments/mingpt.py out/ckpt.pt --encoder=124M --prompt="To be"      # tokens are GPT-2's
    python experiments/mingpt.py out/ckpt.pt --text=input.txt --prompt="To be"    # tokens are characters
    python experiments/mingpt.py model.npz --n_head=6 --prompt="1 2 3"            # tokens are numbers
    python experiments/mingpt.py out/ckpt.pt --text=input.txt --score=input.txt   # loss and perplexity
    python experiments/mingpt.py out/ckpt.pt --text=input.txt --export=model      # for gpt2.py, transformers

The loss is the mean cross entropy of all tokens of a text but the first, in nats. Perplexity is exp of it.
The model reads the text in windows of n_ctx tokens that do not overlap, as in training. Only the last window
starts earlier, so that it is full. Each token counts once.

When a generated text fills the context, minGPT drops one token per step; `generate` keeps the newest half.

Source: github.com/karpathy/minGPT and nanoGPT
"""

from pathlib import Path
from warnings import warn

import numpy as np
from helpers.hub_folder import copy_tokenizer, new_folder, save_tokenizer, save_weights
from helpers.mingpt_files import ACTIVATIONS, load
from helpers.mingpt_tokens import find_folder, load_tokenizer, read_text
from helpers.progress_bar import progress_bar
from perplexity import total_surprise

from cli.exit_status import run
from generation.scoring import format_exp, log_softmax
from gpt2 import generate, gpt2


def loss(ids, targets, params, n_head):
    """The mean cross entropy of the targets, in nats: minGPT's forward(idx, targets). Ignores targets of -1.

    ids and targets [n_seq] or [n_batch, n_seq] -> float.
    """
    targets = np.asarray(targets)
    is_counted = targets != -1
    logits = gpt2(ids, **params, n_head=n_head)  # [n_seq] -> [n_seq, n_vocab]
    log_probs = log_softmax(logits[is_counted])  # [n_seq, n_vocab] -> [n_targets, n_vocab]
    return -log_probs[np.arange(len(log_probs)), targets[is_counted]].mean()


def print_loss(ids, params, n_head):
    """Print the loss and the perplexity of a text. Raises ValueError if it has fewer than two tokens."""
    n_ctx = len(params["wpe"])
    nats = total_surprise(ids, params, n_head, stride=n_ctx) / (len(ids) - 1)
    print(f"tokens     {len(ids) - 1:10d}")
    print(f"loss       {nats:10.4f}")
    print(f"perplexity {format_exp(nats)}")


def export_model(path, params, n_head, tokenizer, encoder):
    """Save a model as a folder for gpt2.py and transformers.

    Args:
        path: the new folder.
        encoder: the model or folder with the tokenizer, if that is a BPE, else None.

    Raises:
        ValueError: the folder exists, or its parent folder does not.
    """
    n_vocab, n_embd = params["wte"].shape
    hparams = {"n_vocab": n_vocab, "n_ctx": len(params["wpe"]), "n_embd": n_embd}
    hparams |= {"n_head": n_head, "n_layer": len(params["blocks"])}
    with new_folder(path) as folder:
        save_weights(folder, hparams, params, tokenizer.end_of_text)
        if encoder is not None:
            copy_tokenizer(find_folder(encoder), folder)
        elif tokenizer.is_ascii():
            save_tokenizer(folder, tokenizer.as_byte_level())
        else:
            reason = "the tokens are not BPE or ASCII characters"
            warn(f"{path} has no tokenizer, which gpt2.py needs: {reason}", stacklevel=2)
    print(path)


def check_at_most_one(**flags):
    """Raise ValueError if more than one of the flags is given."""
    if sum(value is not None for value in flags.values()) > 1:
        names = ", ".join(f"--{name}" for name in flags)
        raise ValueError(f"give only one of these: {names}")


def main(
    checkpoint: str,
    prompt: str = None,
    encoder: str = None,
    text: str = None,
    words: str = None,
    score: str = None,
    export: str = None,
    n_tokens_to_generate: int = 200,
    n_head: int = None,
    gelu: str = None,
    temperature: float = 0.8,
    top_k: int = 0,
    seed: int = None,
):
    """Continue a prompt or score a text with a model of minGPT, nanoGPT or one of their forks, or export it.

    Args:
        checkpoint: a state dict from torch.save or np.savez, or nanoGPT's ckpt.pt.
        prompt: a text for --encoder, --text or --words, or else token ids such as "1 2 3". The default is the
            id 0.
        encoder: the model or folder with the tokenizer, such as 124M for the BPE of GPT-2.
        text: the training text of a character-level model. Its distinct characters are the tokens.
        words: the training text of a word-level model. Its distinct words are the tokens.
        score: a text file. Print its loss, in nats per token, and its perplexity.
        export: a new folder. Save the model there in Hugging Face's layout, for gpt2.py and transformers. The
            folder has a tokenizer if the tokens are BPE or ASCII characters. transformers loads a model
            without a tokenizer, but gpt2.py does not.
        n_tokens_to_generate: the number of new tokens.
        n_head: the number of attention heads. Only nanoGPT's files contain it.
        gelu: exact or tanh. The default is that of the model, if the file tells.
        temperature: 0 is greedy. Below 1 sharpens the distribution, above 1 flattens it.
        top_k: sample from the k most probable tokens. 0 disables it.
        seed: an integer that makes sampling repeatable.
    """
    if gelu not in (None, *ACTIVATIONS):
        raise ValueError(f"gelu must be exact or tanh, not {gelu!r}")
    check_at_most_one(encoder=encoder, text=text, words=words)
    check_at_most_one(prompt=prompt, score=score, export=export)
    params, n_head_in_file = load(checkpoint, gelu)
    n_head = n_head_in_file if n_head is None else n_head
    n_vocab, n_embd = params["wte"].shape
    if type(n_head) is not int or n_head < 1 or n_embd % n_head:
        raise ValueError(f"pass --n_head, a divisor of n_embd, {n_embd}; now it is {n_head}")

    tokenizer = load_tokenizer(encoder, text, words, n_vocab)
    if score is not None:
        print_loss(tokenizer.encode(read_text(score)), params, n_head)
    elif export is not None:
        export_model(Path(export).expanduser(), params, n_head, tokenizer, encoder)
    else:
        ids = [0] if prompt is None else tokenizer.encode(prompt)
        sampling = {"temperature": temperature, "top_k": top_k, "seed": seed}
        new_ids = generate(ids, params, n_head, n_tokens_to_generate, **sampling)
        ids += progress_bar(new_ids, n_tokens_to_generate, "token")
        print(tokenizer.decode(ids))


if __name__ == "__main__":
    run(main)
