"""An induction circuit, written by hand: the previous-token head and the induction head of arXiv:2209.11895.

The n_embd values of a token are three one-hot parts: its id, its position, and the id of the token before it.
"""

import numpy as np

N_VOCAB, N_CTX = 30, 40
N_EMBD = N_VOCAB + N_CTX + N_VOCAB
TOKEN, POSITION, PREVIOUS = np.split(np.eye(N_EMBD, dtype=np.float32), [N_VOCAB, N_VOCAB + N_CTX])


def attention_weights(query, key, value, output, sharpness):
    """Parameters of one head. Its keys match its queries, and it moves `value` to `output`."""
    pad = np.zeros((N_EMBD, N_EMBD - len(query)), np.float32)
    parts = [np.hstack([part.T, pad[:, : N_EMBD - len(part)]]) for part in (sharpness * query, key)]
    c_attn = np.hstack([*parts, np.eye(N_EMBD, dtype=np.float32)])
    zeros = np.zeros(3 * N_EMBD, np.float32)
    return {"c_attn": {"w": c_attn, "b": zeros}, "c_proj": {"w": value.T @ output, "b": zeros[:N_EMBD]}}


def induction_circuit():
    """The parameters of a model with two layers, n_head 1, and MLPs that add 0."""
    norm = {"g": np.ones(N_EMBD, np.float32), "b": np.zeros(N_EMBD, np.float32)}
    c_fc = {"w": np.zeros((N_EMBD, 1), np.float32), "b": np.zeros(1, np.float32)}
    mlp = {"c_fc": c_fc, "c_proj": {"w": c_fc["w"].T, "b": norm["b"]}}
    # The query at position n matches the key at position n - 1. It copies the id there.
    previous_token = attention_weights(POSITION[1:], POSITION[:-1], TOKEN, PREVIOUS, sharpness=50)
    # The query matches keys whose previous token equals it. It adds the id of the key to the prediction.
    induction = attention_weights(TOKEN, PREVIOUS, TOKEN, 10 * TOKEN, sharpness=50)
    blocks = [{"ln_1": norm, "attn": attn, "ln_2": norm, "mlp": mlp} for attn in (previous_token, induction)]
    return {"wte": TOKEN, "wpe": POSITION, "blocks": blocks, "ln_f": norm}
