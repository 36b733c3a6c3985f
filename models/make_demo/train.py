"""Train the demo model on the text in models/demo_training, with the tokenizer there.

    python -m models.make_demo.train

After Ctrl-C, the same command resumes from the last checkpoint. The result is the same as without the stop.

Muon trains the matrices of the blocks. Its update has nearly orthonormal rows or columns, so no direction of
a matrix lags behind (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon). AdamW trains the rest.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel

from cli.exit_status import run
from loading.glibc_memory import keep_freed_memory
from models.make_demo.make_text import TRAINING, read_documents
from models.make_demo.make_tokenizer import N_VOCAB

N_CTX, N_EMBD, N_HEAD, N_LAYER = 256, 256, 4, 6
END_ID = N_VOCAB - 1  # of the end of text
BATCH_SIZE = 24
EMBEDDING_SCALE = 5  # times transformers' first embeddings; ln_f starts at 1/5, so the logits do not grow
SPREAD_STEPS = (750, 1250, 1750, 2250)  # when `spread_embeddings` adds noise
SPREAD = 0.06  # the standard deviation of the noise


def pack_rows(documents, rng):
    """Pack documents, lists of ids, into rows [n_rows, N_CTX + 1]. The end of text follows each document.

    Half of the rows begin with the end of text, the others with a document, so that the model can start from
    both. Only the last document of a row is cut. The rest of the text, too short for a row, is left out."""
    rows, row = [], []
    for index in tqdm(rng.permutation(len(documents)), desc="pack", leave=False):
        if not row and rng.random() < 0.5:
            row = [END_ID]
        row = row + documents[index] + [END_ID]
        if len(row) > N_CTX:
            rows.append(row[: N_CTX + 1])
            row = []
    if not rows:
        raise ValueError(f"the text fills no row of {N_CTX + 1} tokens")
    return np.array(rows, dtype=np.int16)


def encode_documents(folder):
    """Encode train.txt -> documents, lists of ids."""
    tokenizer = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    texts = read_documents(folder / "train.txt")
    return [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def orthogonalize(matrix, n_iterations=5):
    """Return nearly the nearest matrix with orthonormal rows or columns: Newton-Schulz iterations."""
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(matrix.T, n_iterations).T
    x = matrix / (matrix.norm() + 1e-7)
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
        bos_token_id=END_ID,
        eos_token_id=END_ID,
        activation_function="gelu_pytorch_tanh",  # the same formula as gelu_new, in one operation
        resid_pdrop=0,  # 2.7 passes over the rows are too few to overfit
        embd_pdrop=0,
        attn_pdrop=0,
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.wte.weight *= EMBEDDING_SCALE
        model.transformer.ln_f.weight /= EMBEDDING_SCALE
    return model


@torch.no_grad()
def spread_embeddings(model, seed):
    """Add noise to the embedding of each token, the same each time. README.md says why."""
    weight = model.transformer.wte.weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    weight += SPREAD * noise.to(weight.device)


def new_optimizers(model, learning_rate):
    matrices = [param for param in model.transformer.h.parameters() if param.ndim == 2]
    ids = {id(param) for param in matrices}  # == would compare the numbers
    others = [param for param in model.parameters() if id(param) not in ids]
    return [
        Muon(matrices, learning_rate),
        torch.optim.AdamW(others, learning_rate / 2, betas=(0.9, 0.95), weight_decay=0, fused=True),
    ]


def learning_rate_factor(step, n_steps):
    """Rise for 100 steps, stay at 1, and fall in a straight line in the second half of the steps."""
    return min(1, (step + 1) / 100, (n_steps - step) / (0.5 * n_steps))


def save_checkpoint(path, step, settings, model, optimizers):
    state = {
        "step": step,
        "settings": settings,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    torch.save(state, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def load_checkpoint(path, settings, model, optimizers):
    """Load the checkpoint and return the number of steps that it has seen: 0 without a file.

    Raises ValueError if the checkpoint is of a training with other settings."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["settings"] != settings:
        raise ValueError(
            f"{path} is of another text or has other settings; delete it to start from the beginning"
        )
    model.load_state_dict(state["model"])
    for optimizer, optimizer_state in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(optimizer_state)
    return state["step"]


def loss_of(model, batch):
    """Return the mean loss of ids [n_batch, N_CTX + 1], in nats per token."""
    logits = model(batch[:, :-1]).logits  # [n_batch, N_CTX, N_VOCAB]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def train(rows, folder, n_steps, learning_rate, seed, steps_per_checkpoint=100, device="cpu"):
    """Train for n_steps batches of rows [n_rows, N_CTX + 1] and return the model."""
    torch.manual_seed(seed)
    model = new_model().to(device)
    optimizers = new_optimizers(model, learning_rate)
    checkpoint = folder / "checkpoint.pt"
    settings = [n_steps, learning_rate, seed, zlib.crc32(rows)]
    first_step = load_checkpoint(checkpoint, settings, model, optimizers)
    progress = tqdm(range(first_step, n_steps), initial=first_step, total=n_steps, desc="train", unit="step")
    for step in progress:
        if step in SPREAD_STEPS:
            spread_embeddings(model, seed)
        picks = np.arange(step * BATCH_SIZE, (step + 1) * BATCH_SIZE) % len(rows)  # starts over
        batch = torch.from_numpy(rows[picks].astype(np.int64)).to(device)  # [BATCH_SIZE, N_CTX + 1]
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
            save_checkpoint(checkpoint, step + 1, settings, model, optimizers)
    return model


def openai_variables(model):
    """Name and shape the weights as OpenAI does: {"model/h0/attn/c_attn/w": [1, 256, 768], ...}."""
    variables = {}
    for name, param in model.transformer.named_parameters():
        array = param.detach().cpu().numpy()
        path, _, kind = name.replace("h.", "h").rpartition(".")  # e.g. h0.attn.c_attn, weight
        path = path.replace(".", "/")
        if path in ("wte", "wpe"):
            name = path
        elif kind == "bias":
            name = f"{path}/b"
        elif "ln_" in path:
            name = f"{path}/g"
        else:
            name = f"{path}/w"
            array = array[None]  # [n_in, n_out] -> [1, n_in, n_out]
        variables[f"model/{name}"] = array
    return variables


def main(
    folder: str = None,
    n_steps: int = 5000,
    learning_rate: float = 4e-3,
    seed: int = 0,
    steps_per_checkpoint: int = 100,
    device: str = "cpu",
):
    """Train the demo model, and write weights.npz and hparams.json. Ctrl-C stops, the same command resumes.

    Args:
        folder: has train.txt and the tokenizer. The default is models/demo_training.
        n_steps: the number of batches.
        learning_rate: the highest learning rate.
        seed: the seed of the weights and of the order of the documents.
        steps_per_checkpoint: how often to write a checkpoint.
        device: where PyTorch computes, "cpu" or "cuda". The weights differ, because the rounding does.
    """
    folder = Path(folder or TRAINING)
    torch.set_float32_matmul_precision("medium")  # bfloat16 products, where the CPU has instructions for them
    keep_freed_memory()
    rows = pack_rows(encode_documents(folder), np.random.default_rng(seed))
    try:
        model = train(rows, folder, n_steps, learning_rate, seed, steps_per_checkpoint, device)
    except KeyboardInterrupt:
        print("Stopped. The same command resumes at the last checkpoint.", file=sys.stderr)
        raise
    hparams = {"n_vocab": N_VOCAB, "n_ctx": N_CTX, "n_embd": N_EMBD, "n_head": N_HEAD, "n_layer": N_LAYER}
    (folder / "hparams.json").write_text(json.dumps(hparams), encoding="utf-8")
    np.savez(folder / "weights.npz", **openai_variables(model))


if __name__ == "__main__":
    run(main)
