"""GPT-2 as plain loops over Python's floats: the specification of the arrays in gpt2.py."""

import math


def loop_layer_norm(values, g, b):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return [
        gain * (value - mean) / math.sqrt(variance + 1e-5) + shift
        for value, gain, shift in zip(values, g, b, strict=True)
    ]


def loop_linear(values, w, b):
    return [sum(values[i] * float(w[i, j]) for i in range(len(values))) + float(b[j]) for j in range(len(b))]


def loop_gelu(value):
    return 0.5 * value * (1 + math.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))


def loop_gpt2(ids, wte, wpe, blocks, ln_f, n_head):
    """Token ids to logits: n_seq lists of n_vocab floats."""
    n_embd = wte.shape[1]
    head_dim = n_embd // n_head
    x = [
        [float(wte[token_id, i]) + float(wpe[position, i]) for i in range(n_embd)]
        for position, token_id in enumerate(ids)
    ]
    for block in blocks:
        qkv = [loop_linear(loop_layer_norm(row, **block["ln_1"]), **block["attn"]["c_attn"]) for row in x]
        for query in range(len(ids)):
            heads = []
            for head in range(n_head):
                start = head * head_dim
                q, k, v = (range(n + start, n + start + head_dim) for n in (0, n_embd, 2 * n_embd))
                scores = [
                    sum(qkv[query][i] * qkv[key][j] for i, j in zip(q, k, strict=True)) / math.sqrt(head_dim)
                    for key in range(query + 1)
                ]
                weights = [math.exp(score) for score in scores]
                for j in v:
                    total = sum(weight * qkv[key][j] for key, weight in enumerate(weights))
                    heads.append(total / sum(weights))
            for i, value in enumerate(loop_linear(heads, **block["attn"]["c_proj"])):
                x[query][i] += value
        for row in x:
            hidden = loop_linear(loop_layer_norm(row, **block["ln_2"]), **block["mlp"]["c_fc"])
            for i, value in enumerate(loop_linear([loop_gelu(h) for h in hidden], **block["mlp"]["c_proj"])):
                row[i] += value
    x = [loop_layer_norm(row, **ln_f) for row in x]
    return [[sum(row[i] * float(embedding[i]) for i in range(n_embd)) for embedding in wte] for row in x]
