"""Train the demo model on the text in models/demo_training, with the tokenizer there.

    python -m models.make_demo.train

After Ctrl-C, the same command resumes from the last checkpoint. The result is the same.

Muon trains the matrices of the blocks: its update has orthonormal rows or columns, so no direction of a
matrix lags behind (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon). AdamW trains the rest.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel

from loading.glibc_memory import keep_freed_memory
from models.make_demo.make_text import TRAINING, read_documents

N_VOCAB, N_CTX, N_EMBD, N_HEAD, N_LAYER = 4096, 256, 256, 4, 6
END_OF_TEXT = N_VOCAB - 1
BATCH_SIZE = 12


def pack_rows(documents, rng):
    """Pack documents, lists of ids, into rows [n_rows, N_CTX + 1]. The end of text follows each document.

    Each row begins with a document, and only its last document is cut. Half of the rows begin with the end
    of text, so that the model can start from it or from nothing."""
    rows, row = [], []
    for index in tqdm(rng.permutation(len(documents)), desc="pack", leave=False):
        if not row and rng.random() < 0.5:
            row = [END_OF_TEXT]
        row = row + documents[index] + [END_OF_TEXT]
        if len(row) > N_CTX:
            rows.append(row[: N_CTX + 1])
            row = []
    return np.array(rows, dtype=np.int16)


def encode_documents(folder):
    """Encode train.txt -> documents, lists of ids."""
    tokenizer = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    texts = read_documents(folder / "train.txt")
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def orthogonalize(matrix, n_iterations=5):
    """Return nearly the nearest matrix with orthonormal rows or columns: Newton-Schulz iterations."""
    x = matrix / (matrix.norm() + 1e-7)
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(matrix.T, n_iterations).T
    for _ in range(n_iterations):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Momentum, then `orthogonalize`. `c_attn` is orthogonalized as three matrices: queries, keys and values.

    torch.optim.Muon computes in bfloat16, which CPUs without bfloat16 instructions emulate slowly."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state["momentum"] = torch.zeros_like(param)
                state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                nesterov = param.grad.lerp(state["momentum"], group["momentum"])
                param.mul_(1 - group["lr"] * group["weight_decay"])
                n_parts = 3 if param.shape == (N_EMBD, 3 * N_EMBD) else 1
                parts, updates = param.chunk(n_parts, dim=1), nesterov.chunk(n_parts, dim=1)
                for part, update in zip(parts, updates, strict=True):
                    # Scaled to a root mean square of 0.2, that of AdamW (Liu et al., 2025, arXiv:2502.16982).
                    part.sub_(orthogonalize(update), alpha=group["lr"] * 0.2 * max(part.shape) ** 0.5)


def new_model():
    config = GPT2Config(
        vocab_size=N_VOCAB,
        n_positions=N_CTX,
        n_embd=N_EMBD,
        n_layer=N_LAYER,
        n_head=N_HEAD,
        bos_token_id=END_OF_TEXT,
        eos_token_id=END_OF_TEXT,
        activation_function="gelu_pytorch_tanh",  # the same formula as gelu_new, in one operation
        resid_pdrop=0,  # no text comes twice, so there is nothing to overfit
        embd_pdrop=0,
        attn_pdrop=0,
    )
    return GPT2LMHeadModel(config)


def new_optimizers(model, learning_rate):
    blocks = dict(model.transformer.h.named_parameters()).values()
    matrices = [param for param in blocks if param.ndim == 2]
    others = [param for param in model.parameters() if not any(param is matrix for matrix in matrices)]
    return [
        Muon(matrices, learning_rate),
        torch.optim.AdamW(others, learning_rate / 2, betas=(0.9, 0.95), weight_decay=0, fused=True),
    ]


def learning_rate_factor(step, n_steps, n_warmup=100, decay=0.3):
    """Rise for 100 steps, stay at 1, and fall in a straight line in the last 30 % of the steps."""
    return min(1, (step + 1) / n_warmup, (n_steps - step) / (decay * n_steps))


def save_checkpoint(path, step, model, optimizers):
    state = {"step": step, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    torch.save(state, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def load_checkpoint(path, model, optimizers):
    """Load the checkpoint and return the number of steps that it has seen: 0 without a file."""
    if not path.exists():
        return 0
    state = torch.load(path)
    model.load_state_dict(state["model"])
    for optimizer, optimizer_state in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(optimizer_state)
    return state["step"]


def loss_of(model, batch):
    """Return the mean loss of ids [n_batch, N_CTX + 1], in nats per token."""
    logits = model(batch[:, :-1]).logits  # [n_batch, N_CTX, N_VOCAB]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def train(rows, folder, n_steps, learning_rate, seed, steps_per_checkpoint=100):
    """Train for n_steps batches of rows [n_rows, N_CTX + 1] and return the model."""
    torch.manual_seed(seed)
    model = new_model()
    optimizers = new_optimizers(model, learning_rate)
    checkpoint = folder / "checkpoint.pt"
    first_step = load_checkpoint(checkpoint, model, optimizers)
    progress = tqdm(range(first_step, n_steps), initial=first_step, total=n_steps, desc="train", unit="step")
    for step in progress:
        picks = np.arange(step * BATCH_SIZE, (step + 1) * BATCH_SIZE) % len(rows)
        batch = torch.from_numpy(rows[picks].astype(np.int64))  # [BATCH_SIZE, N_CTX + 1]
        loss = loss_of(model, batch)
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * learning_rate_factor(step, n_steps)
            optimizer.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
        if (step + 1) % steps_per_checkpoint == 0 or step + 1 == n_steps:
            save_checkpoint(checkpoint, step + 1, model, optimizers)
    return model


def openai_variables(model):
    """Name and shape the weights as OpenAI does: {"model/h0/attn/c_attn/w": [1, 256, 768], ...}."""
    variables = {}
    for name, param in model.transformer.named_parameters():
        array = param.detach().numpy()
        *path, kind = name.split(".")  # e.g. h.0.attn.c_attn.weight
        path = "/".join(path).replace("h/", "h")
        if "ln" in path.split("/")[-1].split("_"):
            name = path + {"weight": "/g", "bias": "/b"}[kind]
        elif path in ("wte", "wpe"):
            name = path
        else:
            name = path + {"weight": "/w", "bias": "/b"}[kind]
            array = array[None] if kind == "weight" else array
        variables[f"model/{name}"] = array
    return variables


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=TRAINING)
    parser.add_argument("--n_steps", type=int, default=4800)
    parser.add_argument("--learning_rate", type=float, default=5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps_per_checkpoint", type=int, default=100)
    args = parser.parse_args()
    keep_freed_memory()
    rows = pack_rows(encode_documents(args.folder), np.random.default_rng(args.seed))
    print(f"{len(rows):,} rows of {N_CTX + 1} tokens")
    try:
        model = train(rows, **vars(args))
    except KeyboardInterrupt:
        print("Stopped. The same command resumes at the last checkpoint.", file=sys.stderr)
        raise SystemExit(130) from None
    np.savez(args.folder / "weights.npz", **openai_variables(model))


if __name__ == "__main__":
    main()
