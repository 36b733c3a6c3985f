"""GPT-2 in NumPy: the forward pass, from the activation function up to the model, then the loop that writes.

Shapes stand beside the lines that make them, `# [n_seq, n_embd] -> [n_seq, 3*n_embd]`, and are made of
    n_seq     tokens in the text,        n_vocab   tokens in the vocabulary,
    n_embd    values for each token,     n_ctx     tokens that the model can see at most,
    n_head    attention heads,           head_dim  values for each head: n_embd / n_head.
For a batch of texts there is one more axis in front, [n_batch, n_seq, n_embd], and nothing else changes.

Parameters have the names of OpenAI's checkpoints and are passed by name: `**block`, `**attn`, `**c_fc`.
Everything is float32. In NumPy 2 a single np.float64, such as np.sqrt(2), would make it float64; Python's own
floats do not.

The paper: Radford, Wu et al., "Language Models are Unsupervised Multitask Learners", OpenAI, 2019.
"""

import numpy as np


def gelu(x):
    """Gaussian error linear unit, tanh form. [...] -> [...]. Hendrycks and Gimpel, 2016, arXiv:1606.08415."""
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


def softmax(x):
    """Scores to probabilities, along the last axis. [..., n] -> [..., n]."""
    exp_x = np.exp(x - np.max(x, axis=-1, keepdims=True))  # less the maximum, so that exp cannot overflow
    return exp_x / np.sum(exp_x, axis=-1, keepdims=True)


def layer_norm(x, g, b, eps=1e-5):
    """Bring each token's values to mean 0 and variance 1, then scale by g and shift by b. arXiv:1607.06450.

    x [n_seq, n_embd], g [n_embd], b [n_embd] -> [n_seq, n_embd].
    """
    mean = np.mean(x, axis=-1, keepdims=True)  # [n_seq, n_embd] -> [n_seq, 1]
    variance = np.var(x, axis=-1, keepdims=True)  # [n_seq, n_embd] -> [n_seq, 1]
    return g * (x - mean) / np.sqrt(variance + eps) + b


def linear(x, w, b):
    """[n_seq, n_in], w [n_in, n_out], b [n_out] -> [n_seq, n_out]."""
    return x @ w + b


def ffn(x, c_fc, c_proj):
    """Feed-forward network, applied to each token on its own. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = gelu(linear(x, **c_fc))  # [n_seq, n_embd] -> [n_seq, 4*n_embd]
    return linear(x, **c_proj)  # [n_seq, 4*n_embd] -> [n_seq, n_embd]


def attention(q, k, v, mask):
    """For each query, the average of the values, weighted by how well their keys match it. arXiv:1706.03762.

    For n_q queries and n_k keys: q [n_q, head_dim], k [n_k, head_dim], v [n_k, head_dim], mask [n_q, n_k] of
    bool -> [n_q, head_dim]. All but the mask may have more axes in front, such as one for the heads.
    """
    scores = q @ np.swapaxes(k, -1, -2) / q.shape[-1] ** 0.5  # [n_q, head_dim] -> [n_q, n_k]
    return softmax(np.where(mask, scores, -1e10)) @ v  # [n_q, n_k] -> [n_q, head_dim]


def mha(x, c_attn, c_proj, n_head):
    """Multi-head causal self-attention: each token gathers from itself and the tokens before it.

    It does so in n_head ways in parallel, each on a share of the values. [n_seq, n_embd] -> [n_seq, n_embd].
    """
    *n_batch, n_seq, n_embd = x.shape
    x = linear(x, **c_attn)  # [n_seq, n_embd] -> [n_seq, 3*n_embd]
    x = x.reshape(*n_batch, n_seq, 3, n_head, n_embd // n_head)  # -> [n_seq, 3, n_head, head_dim]
    q, k, v = np.moveaxis(x, (-3, -2), (0, -3))  # -> three of [n_head, n_seq, head_dim]
    causal_mask = np.tri(n_seq, dtype=bool)  # [n_seq, n_seq], True where key <= query
    x = attention(q, k, v, causal_mask)  # -> [n_head, n_seq, head_dim]
    x = np.swapaxes(x, -2, -3).reshape(*n_batch, n_seq, n_embd)  # -> [n_seq, n_embd], heads side by side
    return linear(x, **c_proj)  # [n_seq, n_embd] -> [n_seq, n_embd]


def transformer_block(x, mlp, attn, ln_1, ln_2, n_head):
    """Attention, then the feed-forward network; each adds to x. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(layer_norm(x, **ln_1), **attn, n_head=n_head)
    return x + ffn(layer_norm(x, **ln_2), **mlp)


def gpt2(inputs, wte, wpe, blocks, ln_f, n_head, logits_to_keep=0):
    """The model: for each position of a text, a score for every token of the vocabulary to come next.

    Args:
        inputs: token ids, [n_seq] or [n_batch, n_seq], lists or an array. n_seq is 1 to n_ctx. Each id is 0
            to n_vocab - 1, which `generate` checks, but not this function.
        wte: [n_vocab, n_embd], the tokens' embeddings.
        wpe: [n_ctx, n_embd], the positions' embeddings.
        blocks: the parameters of the transformer blocks, a list of dicts.
        ln_f: the parameters of the last layer_norm, a dict.
        n_head: the number of attention heads.
        logits_to_keep: compute logits only for the last so many positions; 0 means for all.

    Returns:
        logits, [n_seq, n_vocab] or [n_batch, n_seq, n_vocab]; softmax turns them into probabilities.

    Raises:
        ValueError: n_seq > n_ctx.
    """
    x = wte[np.asarray(inputs)] + wpe[: np.shape(inputs)[-1]]  # [n_seq] -> [n_seq, n_embd]
    for block in blocks:
        x = transformer_block(x, **block, n_head=n_head)  # [n_seq, n_embd] -> [n_seq, n_embd]
    x = layer_norm(x[..., -logits_to_keep:, :], **ln_f)  # -> [n_kept, n_embd]; -0: keeps all n_seq
    return x @ wte.T  # [n_kept, n_embd] @ [n_embd, n_vocab] -> [n_kept, n_vocab]


def generate(inputs, params, n_head, n_tokens_to_generate):
    """Continue a text: yield the ids of the new tokens one by one, each the likeliest (greedy decoding).

    Args:
        inputs: the prompt's token ids, [n_seq]. The list is left as it is.
        params: the model's parameters, a dict: wte, wpe, blocks and ln_f.
        n_head: the number of attention heads.
        n_tokens_to_generate: how many ids to yield. Together with the prompt they must fit in n_ctx.

    Raises:
        ValueError: the prompt is empty, or an id is not in the vocabulary, or n_ctx would be exceeded.
    """
    ids = [int(id) for id in inputs]
    n_vocab, n_ctx = len(params["wte"]), len(params["wpe"])
    if not ids or not all(0 <= id < n_vocab for id in ids):
        raise ValueError(f"the prompt must be one or more ids from 0 to {n_vocab - 1}")
    if len(ids) + n_tokens_to_generate > n_ctx:
        raise ValueError(
            f"the prompt's {len(ids)} tokens and {n_tokens_to_generate} new ones are more than the {n_ctx} "
            "that this model can see: shorten the prompt, or lower n_tokens_to_generate"
        )
    for _ in range(n_tokens_to_generate):
        logits = gpt2(ids, **params, n_head=n_head, logits_to_keep=1)  # [n_seq] -> [1, n_vocab]
        ids.append(int(np.argmax(logits[-1])))
        yield ids[-1]


def main(prompt, n_tokens_to_generate=40, model_size=None, models_dir=None):
    """Continue a text with GPT-2.

    Args:
        prompt: the text to continue.
        n_tokens_to_generate: how many tokens to add; a token is a word or a piece of one.
        model_size: 124M, 355M, 774M or 1558M (downloaded on first use), demo (tiny, comes with the code), or
            the path of a folder with a model. By default 124M, or the demo where 124M cannot be had.
        models_dir: where the downloaded models are; by default the folder "models" beside gpt2.py.
    """
    from tqdm import tqdm

    from utils import load_encoder_hparams_and_params

    encoder, hparams, params = load_encoder_hparams_and_params(model_size, models_dir)
    ids = generate(encoder.encode(prompt), params, hparams["n_head"], n_tokens_to_generate)
    bar = tqdm(ids, "generating", n_tokens_to_generate, unit="token", delay=2, leave=False, disable=None)
    print(encoder.decode(bar))


if __name__ == "__main__":
    from cli import run

    run(main)
