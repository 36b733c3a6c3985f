"""GPT-2 in NumPy. Read it from top to bottom: forward pass, cache, sampler, and the loop that writes text.

The comments give the shape of each result, such as `# [n_seq, n_embd] -> [n_seq, 3*n_embd]`:

    n_seq    tokens that this call reads          n_vocab   tokens in the vocabulary
    n_keys   these and all tokens before them     n_ctx     most tokens that the model can read
    n_embd   numbers that represent one token     head_dim  numbers per token in one head, n_embd / n_head
    n_head   attention heads                      n_layer   transformer blocks

A batch of texts adds one axis: [n_seq, n_embd] becomes [n_batch, n_seq, n_embd], and
[n_head, n_seq, head_dim] becomes [n_head, n_batch, n_seq, head_dim]. The comments leave n_batch out.

Parameters keep the names of OpenAI's checkpoint, and `**` passes them by name. A block is
{ln_1: {g, b}, attn: {c_attn: {w, b}, c_proj: {w, b}}, ln_2: {g, b}, mlp: {c_fc: {w, b}, c_proj: {w, b}}}.
All are float32. Python's floats keep it so, but a float64 such as np.sqrt(2) does not, in NumPy 2.

Paper: Radford, Wu et al., "Language Models are Unsupervised Multitask Learners", OpenAI, 2019.
"""

from warnings import warn

import numpy as np

CHUNK_SIZE = 256  # tokens of a prompt, or of all prompts in a batch, that one forward pass reads


def gelu(x):
    """Gaussian Error Linear Unit, tanh form. [...] -> [...]. arXiv:1606.08415"""
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


def softmax(x):
    """Turn scores into probabilities along the last axis. [..., n] -> [..., n]."""
    exp_x = np.exp(x - x.max(axis=-1, keepdims=True))  # minus the maximum, so that exp cannot overflow
    return exp_x / exp_x.sum(axis=-1, keepdims=True)


def layer_norm(x, g, b, eps=1e-5):
    """Give each token mean 0 and variance 1, then scale by g and shift by b, [n_embd]. arXiv:1607.06450"""
    x = x - x.mean(axis=-1, keepdims=True)  # [n_seq, n_embd] - [n_seq, 1] -> [n_seq, n_embd]
    variance = (x * x).mean(axis=-1, keepdims=True)  # [n_seq, n_embd] -> [n_seq, 1]
    return g * x / np.sqrt(variance + eps) + b  # [n_seq, n_embd]


def linear(x, w, b=0):
    """x @ w + b. [n_seq, n_in] @ [n_in, n_out] + [n_out] -> [n_seq, n_out].

    The tokens of all texts in a batch become the rows of one matrix: one product reads w only once.
    """
    return (x.reshape(-1, len(w)) @ w + b).reshape(*x.shape[:-1], -1)  # to rows, and back to the shape of x


def ffn(x, c_fc, c_proj, act=gelu):
    """Feed-forward network: process each token on its own. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = act(linear(x, **c_fc))  # [n_seq, n_embd] -> [n_seq, 4*n_embd]
    return linear(x, **c_proj)  # [n_seq, 4*n_embd] -> [n_seq, n_embd]


def attention(q, k, v, mask):
    """Each query averages the values; those whose keys match it weigh more. arXiv:1706.03762"""
    scores = q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5  # [n_seq, head_dim] @ [head_dim, n_keys]
    return softmax(scores + mask) @ v  # [n_seq, n_keys] @ [n_keys, head_dim] -> [n_seq, head_dim]


def mha(x, c_attn, c_proj, n_head, cache=None, n_pad=0):
    """Multi-head causal self-attention: each token reads from itself and the tokens before it.

    [n_seq, n_embd] -> [n_seq, n_embd]. The cache, [2, n_head, n_keys, head_dim], holds the keys and values of
    the tokens before x, and ends with n_seq free slots. The first n_pad slots, [n_batch, 1], are padding.
    """
    qkv = linear(x, **c_attn).reshape(*x.shape[:-1], 3, n_head, -1)  # -> [n_seq, 3, n_head, head_dim]
    q, k, v = np.moveaxis(qkv, (-3, -2), (0, 1))  # -> [3, n_head, n_seq, head_dim], unpacked
    if cache is not None:
        cache[..., -q.shape[-2] :, :] = k, v  # stacked as [2, ...]: they fill the last n_seq slots
        k, v = cache  # [n_head, n_keys, head_dim]
    slot = np.arange(k.shape[-2])  # [n_keys]; the queries have the last n_seq, below as a column [n_seq, 1]
    # Hide later tokens and padding: [n_seq, n_keys], or [n_batch, n_seq, n_keys], the same for all heads.
    hidden = (slot > slot[-q.shape[-2] :, None]) | (slot < np.expand_dims(n_pad, -1))
    heads = attention(q, k, v, mask=hidden * np.float32(-1e10))  # bool * Python float would be float64
    return linear(np.concatenate(heads, axis=-1), **c_proj)  # [n_head, n_seq, head_dim] -> [n_seq, n_embd]


def transformer_block(x, mlp, attn, ln_1, ln_2, n_head, cache=None, n_pad=0):
    """Attention, then the feed-forward network; each adds to x. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(layer_norm(x, **ln_1), **attn, n_head=n_head, cache=cache, n_pad=n_pad)
    return x + ffn(layer_norm(x, **ln_2), **mlp)


def gpt2(inputs, wte, wpe, blocks, ln_f, n_head, cache=None, n_past=0, n_pad=0, n_logits=0, lm_head=None):
    """Token ids to logits: a score for every possible next token. [n_seq] -> [n_seq, n_vocab].

    wte holds the token embeddings, wpe the position embeddings. The output matrix is wte again, or lm_head.
    With a cache, `inputs` continue the n_past tokens that it holds. In a batch, n_pad [n_batch, 1] counts the
    padding at the start of each text. n_logits: only the logits of the last n_logits tokens; 0 means all.
    """
    n_keys = n_past + np.shape(inputs)[-1]
    if n_keys > len(wpe) or (n_past and cache is None) or (cache is not None and n_keys > cache.shape[-2]):
        raise ValueError(f"no room for {n_keys} tokens: n_ctx is {len(wpe)}; n_past needs a cache that large")
    # Padding has negative positions: they select rows at the end of wpe, and the mask hides them.
    x = wte[np.asarray(inputs)] + wpe[np.arange(n_past, n_keys) - n_pad]  # [n_seq] -> [n_seq, n_embd]
    for layer, block in enumerate(blocks):
        layer_cache = None if cache is None else cache[layer, ..., :n_keys, :]  # a view: mha writes to it
        x = transformer_block(x, **block, n_head=n_head, cache=layer_cache, n_pad=n_pad)  # -> [n_seq, n_embd]
    x = layer_norm(x[..., -n_logits:, :], **ln_f)  # the last n_logits tokens; 0 keeps all: -0 is 0
    return linear(x, (wte if lm_head is None else lm_head).T)  # [n_seq, n_embd] @ [n_embd, n_vocab]


def new_cache(params, n_head, n_batch=None, n_slots=None):
    """Allocate room for the keys and values of n_slots tokens, by default n_ctx.

    -> [n_layer, 2, n_head, n_slots, head_dim]; for a batch [n_layer, 2, n_head, n_batch, n_slots, head_dim].
    """
    n_ctx, n_embd = params["wpe"].shape
    batch = () if n_batch is None else (n_batch,)
    shape = (len(params["blocks"]), 2, n_head, *batch, n_slots or n_ctx, n_embd // n_head)
    return np.empty(shape, params["wpe"].dtype)


def prefill(inputs, params, n_head, cache, n_past=0, n_pad=0):
    """Read tokens into the cache, chunk by chunk. ids [n_seq] -> logits after the last one, [n_vocab].

    Small arrays stay in the CPU's caches, and the model computes fewer scores that the mask hides.
    """
    inputs = np.asarray(inputs)  # [n_seq] or [n_batch, n_seq]
    n_seq = inputs.shape[-1]
    chunk_size = max(1, CHUNK_SIZE * n_seq // inputs.size)  # CHUNK_SIZE / n_batch
    for start in range(0, n_seq, chunk_size):
        chunk = inputs[..., start : start + chunk_size]
        past = {"cache": cache, "n_past": n_past + start, "n_pad": n_pad}
        logits = gpt2(chunk, **params, n_head=n_head, **past, n_logits=1)  # -> [1, n_vocab]
    return logits[..., 0, :]


def sample(logits, temperature=0.0, top_k=0, top_p=1.0, rng=None):
    """Choose the next token: temperature -> top_k -> top_p -> draw. logits [..., n_vocab] -> ids [...].

    Args:
        temperature: 0 is greedy: the most probable token. Higher values flatten the probabilities.
        top_k: sample from the top_k most probable tokens; 0 means from all.
        top_p: sample from the fewest most probable tokens that together reach this probability.
        rng: a numpy.random.Generator; None creates one without a seed.
    """
    check_sampling(temperature, top_k, top_p)
    logits = np.asarray(logits, dtype=np.float64)  # exact sums of many small probabilities
    if temperature == 0:
        return np.argmax(logits, axis=-1)
    logits = apply_temperature(logits, temperature)
    if top_k > 0:
        logits = keep_top_k(logits, top_k)
    if top_p < 1:
        logits = keep_top_p(logits, top_p)
    return draw(logits, rng or np.random.default_rng())


def check_sampling(temperature, top_k, top_p):
    """Raise ValueError if an argument of `sample` is out of range."""
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be 0 (greedy) or more, not {temperature}")
    if not top_k >= 0:
        raise ValueError(f"top_k must be 0 (all tokens) or more, not {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be more than 0 and at most 1 (all tokens), not {top_p}")


def apply_temperature(logits, temperature):
    """Divide by the temperature. The maximum becomes 0 first, so that none overflows to inf."""
    with np.errstate(over="ignore"):  # to -inf is fine: probability 0
        return (logits - logits.max(axis=-1, keepdims=True)) / temperature


def keep_top_k(logits, top_k):
    """Rule out all but the top_k most probable tokens and their ties: their logits become -inf."""
    top_k = min(top_k, logits.shape[-1])
    threshold = np.partition(logits, -top_k, axis=-1)[..., -top_k, None]  # the top_k-th largest, [..., 1]
    return np.where(logits < threshold, -np.inf, logits)


def keep_top_p(logits, top_p):
    """Nucleus sampling: rule out all but the top tokens that together reach top_p, and ties. arXiv:1904.09751

    The token that crosses top_p stays in, as in the paper. OpenAI's code for GPT-2 rules it out.
    """
    probs = softmax(logits)
    ranked = np.sort(probs, axis=-1)[..., ::-1]  # the most probable first
    before = np.cumsum(ranked, axis=-1) - ranked  # the total probability of the tokens ahead
    n_kept = np.sum(before < top_p, axis=-1, keepdims=True)  # [..., n_vocab] -> [..., 1]
    threshold = np.take_along_axis(ranked, n_kept - 1, axis=-1)  # that of the last token kept, [..., 1]
    return np.where(probs < threshold, -np.inf, logits)


def draw(logits, rng):
    """Draw from softmax(logits). [..., n_vocab] -> ids [...].

    Gumbel-max trick: the argmax of logits + Gumbel noise is distributed as softmax(logits). arXiv:1411.0030
    """
    noise = rng.gumbel(size=logits.shape)
    return np.argmax(logits + noise, axis=-1)


def generate(inputs, params, n_head, n_tokens_to_generate, stop_id=None, seed=None, sampler=None, **sampling):
    """Continue a text: yield the id of each new token as soon as it is known.

    When the text outgrows the context of n_ctx tokens, the loop keeps only its newest half, with a warning.
    Asking for the first id raises ValueError if the prompt, one of its ids or a sampling argument is invalid.
    generation/prompt_lookup.py yields the same greedy ids, faster if the text repeats itself.

    Args:
        inputs: the token ids of the prompt, [n_seq].
        params, n_head: the parameters (a dict: wte, wpe, blocks, ln_f) and the number of attention heads.
        n_tokens_to_generate: the maximum number of new tokens.
        stop_id: the id that ends the text, such as that of <|endoftext|>, or a list. It is not yielded.
        seed: makes sampling repeatable; any seed of numpy.random.default_rng.
        sampler: a function of (logits [n_vocab], ids so far, rng) that returns an id and replaces `sample`.
        sampling: arguments of `sample`, or of the sampler: temperature, top_k, top_p. The default is greedy.
    """
    ids = check_prompt(inputs, params)
    n_ctx = len(params["wpe"])
    n_slots = min(n_ctx, len(ids) + max(0, n_tokens_to_generate))  # room for the whole text
    cache = new_cache(params, n_head, n_slots=n_slots)
    n_past = 0  # tokens in the cache
    rng = np.random.default_rng(seed)
    for _ in range(n_tokens_to_generate):
        if len(ids) > n_ctx:
            ids = newest_half(ids)
            n_past = 0  # all positions change: read the half again
        new_ids = ids[n_past:]  # first the whole prompt, then one token at a time
        logits = prefill(new_ids, params, n_head, cache, n_past)  # [n_vocab]
        n_past = len(ids)
        if sampler is None:
            next_id = int(sample(logits, rng=rng, **sampling))
        else:
            next_id = int(sampler(logits, ids, rng, **sampling))
        if next_id in np.ravel(stop_id):  # one id, several, or None
            return
        ids.append(next_id)
        yield next_id


def check_prompt(inputs, params):
    """Return the last n_ctx ids as a new list. Raises ValueError if there are none, or if one is unknown."""
    ids = [int(token_id) for token_id in inputs]
    n_vocab, n_ctx = len(params["wte"]), len(params["wpe"])
    if not ids or min(ids) < 0 or max(ids) >= n_vocab:
        raise ValueError(f"the prompt must be one or more ids from 0 to {n_vocab - 1}")
    if len(ids) > n_ctx:
        warn(f"the prompt exceeds the context of {n_ctx} tokens: only its end is used", stacklevel=3)
    return ids[-n_ctx:]


def newest_half(ids):
    """Drop the older half of a text that is one token too long: n_ctx + 1 ids -> about half."""
    warn(f"the context of {len(ids) - 1} tokens is full: only its newest half is kept", stacklevel=3)
    return ids[len(ids) // 2 :]


if __name__ == "__main__":
    from cli.exit_status import run
    from cli.flags import main

    run(main)
