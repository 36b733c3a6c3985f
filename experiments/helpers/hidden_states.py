"""Hidden states: the vectors between the blocks of the model."""

import numpy as np

from gpt2 import transformer_block


def hidden_states(ids, params, n_head):
    """The input of the first block and the output of each block. [n_seq] -> [n_layer + 1, n_seq, n_embd]."""
    x = params["wte"][np.asarray(ids)] + params["wpe"][: len(ids)]  # [n_seq] -> [n_seq, n_embd]
    states = [x]
    for block in params["blocks"]:
        x = transformer_block(x, **block, n_head=n_head)  # [n_seq, n_embd] -> [n_seq, n_embd]
        states.append(x)
    return np.stack(states)
