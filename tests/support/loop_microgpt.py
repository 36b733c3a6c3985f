"""microGPT with Python's lists and numbers only: the specification of experiments/microgpt.py."""

import math
import random


def product(rows, x):
    return [math.fsum(weight * value for weight, value in zip(row, x, strict=True)) for row in rows]


def add(x, y):
    return [a + b for a, b in zip(x, y, strict=True)]


def rmsnorm(x):
    return [value / math.sqrt(math.fsum(v * v for v in x) / len(x) + 1e-5) for value in x]


def softmax(scores):
    total = math.fsum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def loop_logits(token_id, position, weights, n_head, keys, values):
    """The logits after one token. Appends its key and value to the lists of each layer."""
    x = rmsnorm(add(weights["wte"][token_id], weights["wpe"][position]))
    for n in range(len(keys)):
        query, key, value = (product(weights[f"layer{n}.attn_w{kind}"], rmsnorm(x)) for kind in "qkv")
        keys[n].append(key)
        values[n].append(value)
        head_dim, heads = len(x) // n_head, []
        for start in range(0, len(x), head_dim):
            head = range(start, start + head_dim)
            scores = [math.fsum(query[j] * k[j] for j in head) / math.sqrt(head_dim) for k in keys[n]]
            probs = softmax(scores)
            heads += [math.fsum(p * v[j] for p, v in zip(probs, values[n], strict=True)) for j in head]
        x = add(x, product(weights[f"layer{n}.attn_wo"], heads))
        hidden = [value if value > 0 else 0.0 for value in product(weights[f"layer{n}.mlp_fc1"], rmsnorm(x))]
        x = add(x, product(weights[f"layer{n}.mlp_fc2"], hidden))
    return product(weights["lm_head"], x)


def loop_names(weights, chars, n_head, n_layer, n_names, temperature, seed):
    """Generate names with the random numbers that follow the original's training."""
    rng = random.Random(seed)
    docs = [None] * 32_033
    rng.shuffle(docs)
    for rows in weights.values():
        for row in rows:
            for _ in row:
                rng.gauss(0, 0.08)
    bos = len(chars)
    names = []
    for _ in range(n_names):
        keys, values = ([[] for _ in range(n_layer)] for _ in "kv")
        token_id, name = bos, ""
        for position in range(len(weights["wpe"])):
            logits = loop_logits(token_id, position, weights, n_head, keys, values)
            probs = softmax([logit / temperature for logit in logits])
            token_id = rng.choices(range(bos + 1), weights=probs)[0]
            if token_id == bos:
                break
            name += chars[token_id]
        names.append(name)
    return names
