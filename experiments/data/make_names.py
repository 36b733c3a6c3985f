"""Train the microGPT of names.json on names.txt, with PyTorch, in half a minute.

    python experiments/data/make_names.py

It writes the weights that microgpt.py reads. Their last digits can differ between machines.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

DATA = Path(__file__).resolve().parent
N_LAYER, N_EMBD, N_HEAD, N_CTX = 1, 16, 4, 16
N_STEPS, N_BATCH, LEARNING_RATE = 1000, 64, 0.01
N_DECIMALS = 3  # of each weight, to keep the file small


def initial_weights(n_vocab):
    """Random weights with microGPT's names and shapes: {name: [n_out, n_in]}."""
    shapes = {"wte": (n_vocab, N_EMBD), "wpe": (N_CTX, N_EMBD), "lm_head": (n_vocab, N_EMBD)}
    for n in range(N_LAYER):
        shapes |= {f"layer{n}.attn_w{kind}": (N_EMBD, N_EMBD) for kind in "qkvo"}
        shapes |= {f"layer{n}.mlp_fc1": (4 * N_EMBD, N_EMBD), f"layer{n}.mlp_fc2": (N_EMBD, 4 * N_EMBD)}
    return {name: (0.08 * torch.randn(shape)).requires_grad_() for name, shape in shapes.items()}


def rmsnorm(x):
    """Scale each token to a mean square of 1. [..., n_embd] -> [..., n_embd]."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-5) ** -0.5


def model(ids, weights):
    """Token ids to logits. [n_batch, n_seq] -> [n_batch, n_seq, n_vocab]."""
    x = rmsnorm(weights["wte"][ids] + weights["wpe"][: ids.shape[1]])  # [n_batch, n_seq, n_embd]
    for n in range(N_LAYER):
        qkv = [F.linear(rmsnorm(x), weights[f"layer{n}.attn_w{kind}"]) for kind in "qkv"]
        # [n_batch, n_seq, n_embd] -> [n_batch, n_head, n_seq, head_dim]
        qkv = [part.unflatten(-1, (N_HEAD, -1)).transpose(1, 2) for part in qkv]
        heads = F.scaled_dot_product_attention(*qkv, is_causal=True).transpose(1, 2).flatten(2)
        x = x + F.linear(heads, weights[f"layer{n}.attn_wo"])
        hidden = F.linear(rmsnorm(x), weights[f"layer{n}.mlp_fc1"]).relu()
        x = x + F.linear(hidden, weights[f"layer{n}.mlp_fc2"])
    return F.linear(x, weights["lm_head"])


def main():
    """Train the model and write names.json."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    names = (DATA / "names.txt").read_text(encoding="utf-8").split()
    chars = "".join(sorted(set("".join(names))))
    bos = len(chars)
    rows = torch.full((len(names), N_CTX + 1), bos)  # BOS, the name, BOS, and BOS as padding
    for row, name in zip(rows, names, strict=True):
        row[1 : len(name) + 1] = torch.tensor([chars.index(char) for char in name])
    targets = rows[:, 1:].clone()
    targets[:, 1:][targets[:, :-1] == bos] = -1  # ignore the padding

    weights = initial_weights(bos + 1)
    optimizer = torch.optim.Adam(weights.values(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, N_STEPS)
    for step in range(N_STEPS):
        batch = torch.randint(len(names), (N_BATCH,))
        logits = model(rows[batch, :-1], weights)  # [n_batch, n_ctx, n_vocab]
        loss = F.cross_entropy(logits.flatten(0, 1), targets[batch].flatten(), ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == N_STEPS - 1:
            print(f"step {step + 1}: loss {loss.item():.3f}")

    state_dict = {
        name: [[round(value, N_DECIMALS) for value in row] for row in weight.tolist()]
        for name, weight in weights.items()
    }
    content = json.dumps({"chars": chars, "n_head": N_HEAD, "state_dict": state_dict}, separators=(",", ":"))
    (DATA / "names.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
