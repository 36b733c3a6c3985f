"""GPT-2 in NumPy: the forward pass, from the activation function up to the model, then what one does with it.

Shapes stand beside the lines that make them, `# [n_seq, n_embd] -> [n_seq, 3*n_embd]`, and are made of
    n_seq     tokens in the text,        n_vocab   tokens in the vocabulary,
    n_embd    values for each token,     n_ctx     tokens that the model can see at most,
    n_head    attention heads,           head_dim  values for each head: n_embd / n_head,
    n_layer   transformer blocks,        n_keys    tokens up to now: those before, in a cache, and n_seq.
For a batch of texts there is one more axis, [n_batch, n_seq, n_embd] and, where heads are apart,
[n_head, n_batch, n_seq, head_dim]; nothing else changes.

Parameters have the names of OpenAI's checkpoints and are passed by name: `**block`, `**attn`, `**c_fc`.
Read `matmul(x, w)` as x @ w, `by_columns(f, x)` as f(x), and `by_queries(attention, ...)` as attention(...):
fast.py only cuts the work. `iadd(a, b)` is a + b and `imul(a, b)` a * b, written over a.
Everything is float32. In NumPy 2 a single np.float64, such as np.sqrt(2), would make it float64; Python's own
floats do not.

The paper: Radford, Wu et al., "Language Models are Unsupervised Multitask Learners", OpenAI, 2019.
"""

from operator import iadd, imul
from warnings import warn

import numpy as np

from fast import by_columns, by_queries, matmul
from sampling import sample

HIDDEN = np.float32(-1e10)  # added to the score of a key that a query may not see


def gelu(x):
    """Gaussian error linear unit, tanh form. [...] -> [...]. Hendrycks and Gimpel, 2016, arXiv:1606.08415."""
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


def softmax(x):
    """Scores to probabilities, along the last axis. [..., n] -> [..., n]."""
    exp_x = np.exp(x - x.max(axis=-1, keepdims=True))  # less the maximum, so that exp cannot overflow
    return exp_x / exp_x.sum(axis=-1, keepdims=True)


def layer_norm(x, g, b, eps=1e-5):
    """Bring each token's values to mean 0 and variance 1, then scale by g and shift by b. arXiv:1607.06450.

    x [n_seq, n_embd], g [n_embd], b [n_embd] -> [n_seq, n_embd].
    """
    x = x - x.sum(axis=-1, keepdims=True) / x.shape[-1]  # less the mean, [n_seq, n_embd] - [n_seq, 1]
    variance = (x * x).sum(axis=-1, keepdims=True) / x.shape[-1]  # [n_seq, n_embd] -> [n_seq, 1]
    return iadd(imul(x, g / np.sqrt(variance + eps)), b)


def linear(x, w, b):
    """x @ w + b: [n_seq, n_in] @ [n_in, n_out] + [n_out] -> [n_seq, n_out]. All float32."""
    return iadd(matmul(x, w), b)


def ffn(x, c_fc, c_proj):
    """Feed-forward network, applied to each token on its own. [n_seq, n_embd] -> [n_seq, n_embd]."""
    return linear(by_columns(gelu, linear(x, **c_fc)), **c_proj)  # -> [n_seq, 4*n_embd] -> [n_seq, n_embd]


def attention(q, k, v, mask):
    """For each query, the average of the values, weighted by how well their keys match it. arXiv:1706.03762.

    For n_q queries and n_k keys: q [n_q, head_dim], k [n_k, head_dim], v [n_k, head_dim] -> [n_q, head_dim].
    mask [n_q, n_k] is added to the scores: 0 where a query may see a key, else a large negative number; None
    is 0 for all. All may have more axes in front; the mask need not have the one for the heads.
    """
    scores = matmul(q * q.shape[-1] ** -0.5, k.swapaxes(-1, -2))  # [n_q, head_dim] @ [head_dim, n_k]
    return matmul(softmax(scores if mask is None else iadd(scores, mask)), v)  # [n_q, n_k] @ [n_k, head_dim]


def mha(x, c_attn, c_proj, n_head, cache=None, n_pad=0):
    """Multi-head causal self-attention: each token gathers from itself and the tokens before it.

    It does so in n_head ways in parallel, each on a share of the values. [n_seq, n_embd] -> [n_seq, n_embd].
    With a cache, [2, n_head, n_keys, head_dim], the tokens are its last ones, and those before are not
    computed again: their keys and values are in it already.
    """
    n_seq = x.shape[-2]
    qkv = linear(x, **c_attn).reshape(*x.shape[:-1], 3, n_head, -1)  # -> [n_seq, 3, n_head, head_dim]
    qkv = qkv.transpose(-3, -2, *range(x.ndim - 1), -1)  # to the front: -> [3, n_head, n_seq, head_dim]
    if cache is not None:
        cache[..., -n_seq:, :] = qkv[1:]  # [2, n_head, n_seq, head_dim]
    kv = qkv[1:] if cache is None else cache  # [2, n_head, n_keys, head_dim]; n_keys is n_seq or more
    keys, mask = np.arange(kv.shape[-2])[:, None], None  # [n_keys, 1]; one token alone may see them all
    if n_seq > 1 or not isinstance(n_pad, int):
        mask = HIDDEN * ((keys > keys[-n_seq:, 0]) | (keys < np.expand_dims(n_pad, -1))).swapaxes(-1, -2)
    x = by_queries(attention, qkv[0], *kv, mask)  # mask [n_seq, n_keys] -> x [n_head, n_seq, head_dim]
    x = x.transpose(*range(1, x.ndim - 1), 0, -1).reshape(*x.shape[1:-1], -1)  # -> [n_seq, n_embd]
    return linear(x, **c_proj)  # [n_seq, n_embd] -> [n_seq, n_embd]


def transformer_block(x, mlp, attn, ln_1, ln_2, n_head, cache=None, n_pad=0):
    """Attention, then the feed-forward network; each adds to x. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(layer_norm(x, **ln_1), **attn, n_head=n_head, cache=cache, n_pad=n_pad)
    return x + ffn(layer_norm(x, **ln_2), **mlp)


def gpt2(inputs, wte, wpe, blocks, ln_f, n_head, cache=None, n_past=0, n_pad=0, n_logits=0, lm_head=None):
    """The model: for each position of a text, a score for every token of the vocabulary to come next.

    Without a cache it is a pure function of arrays. With one, made by `new_cache`, a text can be passed on
    piece by piece: only `inputs` are computed, and their keys and values written to the cache in place.

    Args:
        inputs: token ids, [n_seq] or [n_batch, n_seq], lists or an array. n_seq is 1 to n_ctx. Each id is 0
            to n_vocab - 1, which `generate` checks, but not this function.
        wte: [n_vocab, n_embd], the tokens' embeddings.
        wpe: [n_ctx, n_embd], the positions' embeddings.
        blocks: the parameters of the transformer blocks, a list of dicts.
        ln_f: the parameters of the last layer_norm, a dict.
        n_head: the number of attention heads.
        cache: the keys and values of the text so far, see `new_cache`.
        n_past: how many tokens, padding included, came before `inputs`; the cache holds them.
        n_pad: 0, or [n_batch, 1] for texts of different lengths in a batch: how many tokens at the beginning
            of each row are only there to fill it up. They may be any ids, and have no effect.
        n_logits: compute logits only for the last so many positions; 0 means for all.
        lm_head: [n_vocab, n_embd], where a model has other vectors than wte to compute the logits with.

    Returns:
        logits, [n_seq, n_vocab] or [n_batch, n_seq, n_vocab], or those of the last n_logits positions;
        softmax turns them into probabilities.

    Raises:
        ValueError: the tokens, with those before, are more than n_ctx or than the cache has room for; or
            there are some before, but no cache.
    """
    n_keys = n_past + np.shape(inputs)[-1]
    check_room(n_keys, n_past, len(wpe), cache)
    # The positions of padding are negative: that gives it some row of wpe, which the mask hides.
    x = wte[np.asarray(inputs)] + wpe[np.arange(n_past, n_keys) - n_pad]  # [n_seq] -> [n_seq, n_embd]
    for layer, block in enumerate(blocks):
        past = None if cache is None else cache[layer, ..., :n_keys, :]  # [2, n_head, n_keys, head_dim]
        x = transformer_block(x, **block, n_head=n_head, cache=past, n_pad=n_pad)  # -> [n_seq, n_embd]
    # The last n_logits of [n_seq, n_embd], and -0: is all of them; @ [n_embd, n_vocab] -> [n_logits, n_vocab]
    return matmul(layer_norm(x[..., -n_logits:, :], **ln_f), (wte if lm_head is None else lm_head).T)


def check_room(n_keys, n_past, n_ctx, cache):
    """ValueError if n_keys tokens are more than the model can see, or than a cache has room for."""
    if n_keys > min(n_ctx, n_keys - n_past if cache is None else cache.shape[-2]):
        raise ValueError(f"no room for {n_keys} tokens: n_ctx is {n_ctx}; n_past needs a cache for all")


def new_cache(params, n_head, n_batch=None, n_slots=None):
    """Room for the keys and values of n_slots tokens; by default n_ctx of them, as many as the model can see.

    -> [n_layer, 2, n_head, n_slots, head_dim], for inputs [n_seq];
    or [n_layer, 2, n_head, n_batch, n_slots, head_dim], for a batch, inputs [n_batch, n_seq].
    In memory the slots lie together, value by value: so one token's attention to many is read faster.
    """
    n_ctx, n_embd = params["wpe"].shape
    text = (n_embd // n_head, n_ctx if n_slots is None else n_slots)
    texts = text if n_batch is None else (n_batch, *text)
    return np.empty((len(params["blocks"]), 2, n_head, *texts), params["wpe"].dtype).swapaxes(-1, -2)


def generate(inputs, params, n_head, n_tokens_to_generate, stop_id=None, seed=None, **sampling):
    """Continue a text: yield the ids of the new tokens one by one, each as soon as it is known.

    When the text fills the context, n_ctx tokens, its newest half is kept and the rest forgotten; of a prompt
    that is longer the last n_ctx tokens are used. A warning says so.

    Args:
        inputs: the prompt's token ids, [n_seq]. The list is left as it is.
        params: the model's parameters, a dict: wte, wpe, blocks and ln_f, perhaps lm_head.
        n_head: the number of attention heads.
        n_tokens_to_generate: how many ids to yield at most.
        stop_id: the id that ends the text, such as that of <|endoftext|>; it is not yielded.
        seed: makes the draw repeat itself; whatever numpy.random.default_rng takes.
        sampling: temperature, top_k, top_p, min_p, repetition_penalty, see `sample`. Without them each token
            is the likeliest (greedy decoding). Only what is kept of the text counts as repetition.

    Raises:
        ValueError: when the first id is asked for: the prompt is empty, an id is not in the vocabulary, or a
            value of `sampling` is out of range.
    """
    ids = check_prompt(inputs, params)
    rng = np.random.default_rng(seed)
    n_slots = min(len(params["wpe"]), len(ids) + max(0, n_tokens_to_generate))
    cache, n_past = new_cache(params, n_head, n_slots=n_slots), 0  # it holds the first n_past of the ids
    for _ in range(n_tokens_to_generate):
        if len(ids) > len(params["wpe"]):
            ids, n_past = newest_half(ids), 0
        new = ids[n_past:]  # at first the whole prompt, then one at a time
        logits = gpt2(new, **params, n_head=n_head, cache=cache, n_past=n_past, n_logits=1)
        id = int(sample(logits[-1], **sampling, previous=ids, rng=rng))
        if id == stop_id:
            return
        n_past = len(ids)
        ids.append(id)
        yield id


def check_prompt(inputs, params):
    """The last n_ctx of the ids, in a list of its own; ValueError if one is not in the vocabulary."""
    ids = [int(id) for id in inputs]
    n_vocab, n_ctx = len(params["wte"]), len(params["wpe"])
    if not ids or not all(0 <= id < n_vocab for id in ids):
        raise ValueError(f"the prompt must be one or more ids from 0 to {n_vocab - 1}")
    if len(ids) > n_ctx:
        warn(f"the prompt has more than the {n_ctx} tokens this model can see: its end is used", stacklevel=2)
    return ids[-n_ctx:]


def newest_half(ids):
    """What is kept of a context one token too long: of n_ctx + 1 ids the last n_ctx / 2 + 1."""
    warn(f"the context of {len(ids) - 1} tokens is full: its newest half is kept", stacklevel=2)
    return ids[len(ids) // 2 :]


def score(ids, params, n_head, stride=None):
    """The log-probability of each token given those before it. ids [n_seq] -> [n_seq - 1], in nats, float64.

    The first token has none before it; begin with the id of <|endoftext|> to have a score for the whole text.
    A text longer than n_ctx is read in windows of n_ctx tokens. Each ends `stride` tokens after the one
    before it, where the text is so long, and scores those. So more than n_ctx - stride of the tokens before
    it count for each token, where there are so many.

    Args:
        ids: the text.
        params, n_head: the model.
        stride: 1 to n_ctx; by default half of n_ctx.

    Raises:
        ValueError: an id is not in the vocabulary, or the stride is out of range.
    """
    return np.concatenate([np.empty(0), *score_windows(ids, params, n_head, stride)])


def score_windows(ids, params, n_head, stride=None):
    """What `score` returns, window by window: yields arrays of float64."""
    n_vocab, n_ctx = len(params["wte"]), len(params["wpe"])
    ids = np.asarray(ids, dtype=np.intp)
    stride = (n_ctx + 1) // 2 if stride is None else stride
    if not 1 <= stride <= n_ctx:
        raise ValueError(f"stride must be from 1 to {n_ctx}, not {stride}")
    if not np.all((ids >= 0) & (ids < n_vocab)):
        raise ValueError(f"the ids must be from 0 to {n_vocab - 1}")
    start, end = 1, n_ctx + 1  # of the tokens to score
    while start < len(ids):
        targets = ids[start:end]  # [n_new]
        last = start + len(targets) - 1  # the last target, which is not among the inputs
        inputs = ids[max(0, last - n_ctx) : last]  # [n_ctx], or fewer where the text is shorter
        logits = gpt2(inputs, **params, n_head=n_head, n_logits=len(targets))  # -> [n_new, n_vocab]
        # As log_softmax, but without its float64 array [n_new, n_vocab], which can be large.
        logits -= np.max(logits, axis=-1, keepdims=True)
        log_total = np.log(np.sum(np.exp(logits), axis=-1, dtype=np.float64))  # [n_new, n_vocab] -> [n_new]
        yield logits[np.arange(len(targets)), targets] - log_total  # [n_new]
        start, end = end, end + stride


if __name__ == "__main__":
    from cli import run
    from commands import main

    run(main)
