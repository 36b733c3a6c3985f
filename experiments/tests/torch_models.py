"""minGPT's and nanoGPT's models in PyTorch, to compare with; as a script, it trains one to try mingpt.py on.

    python experiments/tests/torch_models.py

That is a nanoGPT of the characters of data/names.txt, made in half a minute; its context is about
five names. It goes to data/nanogpt.npz, in half precision.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

DATA = Path(__file__).resolve().parent.parent / "data"
N_CTX, N_STEPS = 32, 300


class Since2022(nn.Module):
    """minGPT since 2022, and nanoGPT, which may have no biases, and has one matrix for wte and lm_head."""

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

    def forward(self, ids):
        """ids [n_batch, n_seq] -> logits [n_batch, n_seq, n_vocab]."""
        model = self.transformer
        x = model.wte(ids) + model.wpe(torch.arange(ids.shape[1]))
        for block in model.h:
            q, k, v = block.attn.c_attn(block.ln_1(x)).chunk(3, dim=-1)
            x = x + block.attn.c_proj(causal_attention(q, k, v, self.n_head))
            x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x)), approximate=self.gelu))
        return self.lm_head(model.ln_f(x))


class Of2020(nn.Module):
    """minGPT of 2020. Its masks are part of the state dict."""

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
        """ids [n_batch, n_seq] -> logits [n_batch, n_seq, n_vocab]."""
        x = self.tok_emb(ids) + self.pos_emb[:, : ids.shape[1]]
        for block in self.blocks:
            y, attn = block.ln1(x), block.attn
            x = x + attn.proj(causal_attention(attn.query(y), attn.key(y), attn.value(y), self.n_head))
            x = x + block.mlp(block.ln2(x))
        return self.head(self.ln_f(x))


def causal_attention(q, k, v, n_head):
    """q, k, v [n_batch, n_seq, n_embd] -> [n_batch, n_seq, n_embd]."""
    heads = (part.unflatten(-1, (n_head, -1)).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)


def main():
    """Train a model on random orders of the names, and write it down."""
    torch.manual_seed(1)
    torch.set_num_threads(1)  # for so small a model more take longer
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
        ids = ids.unfold(0, N_CTX + 1, N_CTX)  # in pieces: [n_batch, n_ctx + 1]
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
