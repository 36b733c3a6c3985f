"""GPT-2 in 60 lines: the forward pass of gpt2.py without cache, batches and padding. Compare the two."""

import numpy as np


def gelu(x):
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


def softmax(x):
    exp_x = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp_x / exp_x.sum(axis=-1, keepdims=True)


def layer_norm(x, g, b, eps=1e-5):
    x = x - x.mean(axis=-1, keepdims=True)
    variance = (x * x).mean(axis=-1, keepdims=True)
    return g * x / np.sqrt(variance + eps) + b


def linear(x, w, b=0):
    return x @ w + b


def ffn(x, c_fc, c_proj, act=gelu):
    x = act(linear(x, **c_fc))
    return linear(x, **c_proj)


def attention(q, k, v, mask):
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5
    return softmax(scores + mask) @ v


def mha(x, c_attn, c_proj, n_head):
    qkv = linear(x, **c_attn).reshape(len(x), 3, n_head, -1)
    q, k, v = np.moveaxis(qkv, (-3, -2), (0, 1))
    hidden = 1 - np.tri(len(x), dtype=np.float32)
    heads = attention(q, k, v, mask=hidden * -1e10)
    return linear(np.concatenate(heads, axis=-1), **c_proj)


def transformer_block(x, mlp, attn, ln_1, ln_2, n_head):
    x = x + mha(layer_norm(x, **ln_1), **attn, n_head=n_head)
    return x + ffn(layer_norm(x, **ln_2), **mlp)


def gpt2(inputs, wte, wpe, blocks, ln_f, n_head, lm_head=None):
    x = wte[np.asarray(inputs)] + wpe[: len(inputs)]
    for block in blocks:
        x = transformer_block(x, **block, n_head=n_head)
    x = layer_norm(x, **ln_f)
    return linear(x, (wte if lm_head is None else lm_head).T)


if __name__ == "__main__":
    from cli.exit_status import run
    from cli.pico_flags import main

    run(main)
