"""Hidden states: the vectors between the blocks of the model, and how to read them."""

import numpy as np

from gpt2 import attention, layer_norm, linear, mha, transformer_block


def hidden_states(ids, params, n_head):
    """The input of the first block and the output of each block. [n_seq] -> [n_layer + 1, n_seq, n_embd]."""
    x = params["wte"][np.asarray(ids)] + params["wpe"][: len(ids)]  # [n_seq] -> [n_seq, n_embd]
    states = [x]
    for block in params["blocks"]:
        x = transformer_block(x, **block, n_head=n_head)  # [n_seq, n_embd] -> [n_seq, n_embd]
        states.append(x)
    return np.stack(states)


def attention_weights(x, block, n_head, n_last=0):
    """The attention weights of one block. [n_seq, n_embd] -> [n_head, n_queries, n_seq].

    Attention returns weights @ v. With the identity matrix as v, that is the weights themselves.
    n_last: only the queries of the last n_last tokens; 0 keeps all: -0 is 0.
    """
    n_seq = len(x)
    qkv = linear(layer_norm(x, **block["ln_1"]), **block["attn"]["c_attn"])  # -> [n_seq, 3*n_embd]
    q, k, _ = qkv.reshape(n_seq, 3, n_head, -1).transpose(1, 2, 0, 3)  # -> 3 times [n_head, n_seq, head_dim]
    mask = np.triu(np.full((n_seq, n_seq), -1e10, dtype=np.float32), 1)  # hides later tokens
    return attention(q[:, -n_last:], k, np.eye(n_seq, dtype=np.float32), mask[-n_last:])


def head_outputs(x, block, n_head):
    """The outputs of all heads of one block, before c_proj. [n_seq, n_embd] -> [n_seq, n_head, head_dim].

    mha returns concatenated heads @ w. With the identity matrix as w, that is the heads themselves.
    """
    identity = np.eye(x.shape[-1], dtype=x.dtype)
    heads = mha(layer_norm(x, **block["ln_1"]), block["attn"]["c_attn"], {"w": identity}, n_head)
    return heads.reshape(len(x), n_head, -1)  # [n_seq, n_embd] -> [n_seq, n_head, head_dim]


def decode_state(x, params):
    """The logits that the model would give if it stopped here. [n_seq, n_embd] -> [n_seq, n_vocab]."""
    lm_head = params.get("lm_head", params["wte"])  # [n_vocab, n_embd]
    return layer_norm(x, **params["ln_f"]) @ lm_head.T
