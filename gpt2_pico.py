import numpy as np


def gelu(x):
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


def softmax(x):
    exp_x = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return exp_x / np.sum(exp_x, axis=-1, keepdims=True)


def layer_norm(x, g, b, eps=1e-5):
    return (x - x.mean(axis=-1, keepdims=True)) * (g / np.sqrt(x.var(axis=-1, keepdims=True) + eps)) + b


def linear(x, w, b):
    return x @ w + b


def ffn(x, c_fc, c_proj):
    return linear(gelu(linear(x, **c_fc)), **c_proj)


def attention(q, k, v, mask):
    return softmax(np.where(mask, q @ np.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5, -1e10)) @ v


def mha(x, c_attn, c_proj, n_head):
    qkv = np.split(linear(x, **c_attn), 3 * n_head, axis=-1)  # each head's q, then each head's k, then v
    heads = [attention(*qkv[head::n_head], mask=np.tri(x.shape[-2], dtype=bool)) for head in range(n_head)]
    return linear(np.concatenate(heads, axis=-1), **c_proj)


def transformer_block(x, mlp, attn, ln_1, ln_2, n_head):
    x = x + mha(layer_norm(x, **ln_1), **attn, n_head=n_head)
    return x + ffn(layer_norm(x, **ln_2), **mlp)


def gpt2(inputs, wte, wpe, blocks, ln_f, n_head, lm_head=None):
    x = wte[np.asarray(inputs)] + wpe[: np.shape(inputs)[-1]]
    for block in blocks:
        x = transformer_block(x, **block, n_head=n_head)
    return layer_norm(x, **ln_f) @ (wte if lm_head is None else lm_head).T


if __name__ == "__main__":
    from cli import run
    from utils import load_encoder_hparams_and_params

    def main(prompt, n_tokens_to_generate=40, model_size=None, models_dir=None):
        encoder, hparams, params = load_encoder_hparams_and_params(model_size, models_dir)
        ids = encoder.encode(prompt)
        if len(ids) + n_tokens_to_generate > hparams["n_ctx"]:
            raise ValueError(f"prompt and n_tokens_to_generate are more than {hparams['n_ctx']} tokens")
        for _ in range(n_tokens_to_generate):
            ids.append(int(np.argmax(gpt2(ids, **params, n_head=hparams["n_head"])[-1])))
        print(encoder.decode(ids[-n_tokens_to_generate:]))

    run(main)
