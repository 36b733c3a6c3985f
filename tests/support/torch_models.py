"""The models of minGPT and nanoGPT in PyTorch, as references. As a script, train the model of nanogpt.npz.

    python tests/support/torch_models.py

The script trains a character-level nanoGPT on experiments/data/names.txt in half a minute. Its context holds
about five names. It writes experiments/data/nanogpt.npz in half precision.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

DATA = Path(__file__).resolve().parents[2] / "experiments" / "data"
N_CTX, N_STEPS = 32, 300


class Since2022(nn.Module):
    """minGPT since 2022, and nanoGPT: there, wte is the lm_head, biases are optional, no masks are stored."""

    def __init__(self, n_vocab, n_ctx, n_embd, n_head, n_layer, bias=True, is_tied=False, gelu="tanh"):
        super().__init__()
        self.n_head, self.gelu = n_head, gelu

        def block():
            return nn.ModuleDict(
                {
                    "ln_1": nn.LayerNorm(n_embd, bias=bias),
                    "attn": nn.ModuleDict(
                        {
                            "c_attn": nn.Linear(n_embd, 3 * n_embd, bias=bias),
                            "c_proj": nn.Linear(n_embd, n_embd, bias=bias),
                        }
                    ),
                    "ln_2": nn.LayerNorm(n_embd, bias=bias),
                    "mlp": nn.ModuleDict(
                        {
                            "c_fc": nn.Linear(n_embd, 4 * n_embd, bias=bias),
                            "c_proj": nn.Linear(4 * n_embd, n_embd, bias=bias),
                        }
                    ),
                }
            )

        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(n_vocab, n_embd),
                "wpe": nn.Embedding(n_ctx, n_embd),
                "h": nn.ModuleList(block() for _ in range(n_layer)),
                "ln_f": nn.LayerNorm(n_embd, bias=bias),
            }
        )
        self.lm_head = nn.Linear(n_embd, n_vocab, bias=False)
        if is_tied:
            self.lm_head.weight = self.transformer.wte.weight
        else:
            for block in self.transformer.h:
                block.attn.register_buffer("bias", torch.tril(torch.ones(1, 1, n_ctx, n_ctx)))

    def forward(self, ids):
        """Token ids to logits. [n_batch, n_seq] -> [n_batch, n_seq, n_vocab]."""
        model = self.transformer
        x = model.wte(ids) + model.wpe(torch.arange(ids.shape[1]))
        for block in model.h:
            q, k, v = block.attn.c_attn(block.ln_1(x)).chunk(3, dim=-1)
            x = x + block.attn.c_proj(causal_attention(q, k, v, self.n_head))
            x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x)), approximate=self.gelu))
        return self.lm_head(model.ln_f(x))


class Of2020(nn.Module):
    """minGPT of 2020. Its state dict contains the causal masks."""

    def __init__(self, n_vocab, n_ctx, n_embd, n_head, n_layer):
        super().__init__()
        self.n_head = n_head

        def block():
            attn = nn.ModuleDict(
                {part: nn.Linear(n_embd, n_embd) for part in ("key", "query", "value", "proj")}
            )
            attn.register_buffer("mask", torch.tril(torch.ones(1, 1, n_ctx, n_ctx)))
            mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))
            return nn.ModuleDict(
                {"ln1": nn.LayerNorm(n_embd), "ln2": nn.LayerNorm(n_embd), "attn": attn, "mlp": mlp}
            )

        self.tok_emb = nn.Embedding(n_vocab, n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, n_ctx, n_embd))
        self.blocks = nn.ModuleList(block() for _ in range(n_layer))
        self.ln_f = nn.LayerNorm(n_embd)
        self.head = nn.Linear(n_embd, n_vocab, bias=False)

    def forward(self, ids):
        """Token ids to logits. [n_batch, n_seq] -> [n_batch, n_seq, n_vocab]."""
        x = self.tok_emb(ids) + self.pos_emb[:, : ids.shape[1]]
        for block in self.blocks:
            y, attn = block.ln1(x), block.attn
            x = x + attn.proj(causal_attention(attn.query(y), attn.key(y), attn.value(y), self.n_head))
            x = x + block.mlp(block.ln2(x))
        return self.head(self.ln_f(x))


def causal_attention(q, k, v, n_head):
    """Multi-head causal attention. q, k, v [n_batch, n_seq, n_embd] -> [n_batch, n_seq, n_embd]."""
    heads = (part.unflatten(-1, (n_head, -1)).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)


# Random models in every layout, for tests with few parameters.

SIZES = {"n_vocab": 27, "n_ctx": 16, "n_embd": 24, "n_head": 3, "n_layer": 2}
LAYOUTS = {
    "minGPT": Since2022,
    "minGPT of 2020": Of2020,
    "nanoGPT": lambda **sizes: Since2022(**sizes, is_tied=True, gelu="none"),
    "nanoGPT without biases": lambda **sizes: Since2022(**sizes, is_tied=True, gelu="none", bias=False),
}
MODEL_ARGS = {"n_layer": 2, "n_head": 3, "n_embd": 24, "block_size": 16, "vocab_size": 27, "dropout": 0.0}


def random_model(layout, seed=0):
    """A model of SIZES with random weights, biases and gains."""
    torch.manual_seed(seed)
    model = LAYOUTS[layout](**SIZES)
    for name, parameter in model.named_parameters():
        is_gain = "ln" in name and name.endswith("weight")
        nn.init.normal_(parameter, mean=float(is_gain), std=0.4)
    return model.eval()


def save(model, path, layout):
    """Save a model as its own project does. nanoGPT's file is compiled and also contains the optimizer."""
    tensors = model.state_dict()
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif layout.startswith("nanoGPT"):
        tensors = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
        optimizer = {
            "state": {0: {"step": torch.tensor(7.0)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95)}],
        }
        torch.save({"model": tensors, "model_args": MODEL_ARGS, "optimizer": optimizer, "iter_num": 7}, path)
    else:
        torch.save(tensors, path)
    return path


def main():
    """Train a model on shuffled names and save its weights."""
    torch.manual_seed(1)
    torch.set_num_threads(1)  # more threads slow down such a small model
    names = (DATA / "names.txt").read_text(encoding="utf-8").split()
    chars = sorted({"\n", *"".join(names)})
    sizes = {"n_embd": 32, "n_head": 4, "n_layer": 2, "bias": False}
    model = Since2022(len(chars), N_CTX, **sizes, is_tied=True, gelu="none")
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
    for step in range(N_STEPS):
        shuffled = "".join(f"{names[n]}\n" for n in torch.randperm(len(names)))
        ids = torch.tensor([chars.index(char) for char in shuffled])
        ids = ids.unfold(0, N_CTX + 1, N_CTX)  # -> [n_batch, n_ctx + 1]
        logits = model(ids[:, :-1])  # [n_batch, n_ctx, n_vocab]
        loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == N_STEPS - 1:
            print(f"step {step + 1}: loss {loss.item():.3f}")
    weights = {name: tensor.half().numpy() for name, tensor in model.state_dict().items()}
    np.savez_compressed(DATA / "nanogpt.npz", **weights)


if __name__ == "__main__":
    main()
