"""Direct logit attribution: how much each head and each MLP adds to one token's logit relative to another's.

    python experiments/attribution.py --token=" his" --other=" her" "The king lost"

The final hidden state is a sum: the embeddings, and the outputs of all heads, attention biases and MLPs. ln_f
and the output matrix turn it into logits. ln_f divides by the standard deviation of the sum, which is not
linear. This script freezes that number: it divides each part by it. Then the parts sum to the logit. They are
direct effects only. A head can also change the logit through a later block.

Method: Elhage et al., "A Mathematical Framework for Transformer Circuits", 2021. Wang et al. attribute the
difference between the logits of two tokens, arXiv:2211.00593.
"""

import numpy as np
from helpers.hidden_states import head_outputs
from helpers.layer_map import draw_layer_map
from helpers.output_files import write_picture
from helpers.picture_labels import picture_labels
from helpers.token_labels import encode_single_token, encode_within_context

from cli.exit_status import run
from gpt2 import ffn, layer_norm, mha
from utils import load_encoder_hparams_and_params


def head_parts(x, block, n_head):
    """What each head adds to the last token. [n_seq, n_embd] -> [n_head, n_embd]."""
    heads = head_outputs(x, block, n_head)[-1]  # [n_seq, n_head, head_dim] -> [n_head, head_dim]
    w = block["attn"]["c_proj"]["w"]  # [n_embd, n_embd]
    w = w.reshape(*heads.shape, -1)  # [n_embd, n_embd] -> [n_head, head_dim, n_embd]
    parts = heads[:, None] @ w  # [n_head, 1, head_dim] @ [n_head, head_dim, n_embd] -> [n_head, 1, n_embd]
    return parts[:, 0]  # [n_head, 1, n_embd] -> [n_head, n_embd]


def hidden_state_parts(ids, params, n_head):
    """The parts of the last token's final hidden state. [n_seq] -> [n_embd], [n_layer, n_head + 2, n_embd].

    First the embeddings. Then, for each block, the output of each head, the bias of attention, and the MLP.
    """
    x = params["wte"][np.asarray(ids)] + params["wpe"][: len(ids)]  # [n_seq] -> [n_seq, n_embd]
    embeddings, blocks = x[-1], []
    for block in params["blocks"]:
        heads = head_parts(x, block, n_head)  # [n_seq, n_embd] -> [n_head, n_embd]
        x = x + mha(layer_norm(x, **block["ln_1"]), **block["attn"], n_head=n_head)
        mlp = ffn(layer_norm(x, **block["ln_2"]), **block["mlp"])  # [n_seq, n_embd] -> [n_seq, n_embd]
        x = x + mlp
        blocks.append([*heads, block["attn"]["c_proj"]["b"], mlp[-1]])
    return embeddings, np.array(blocks)


def frozen_layer_norm(x, state, g, eps=1e-5):
    """layer_norm of x, [..., n_embd], without b, and with the standard deviation of `state`, [n_embd]."""
    return g * (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(state.var() + eps)


def attribution(ids, params, n_head, direction):
    """Split ln_f(final hidden state) @ direction. direction: [n_embd], from the output matrix.

    Returns what the blocks add, [n_layer, n_head + 2], and what the embeddings and the bias of ln_f add.
    """
    embeddings, blocks = hidden_state_parts(ids, params, n_head)
    state = embeddings + blocks.sum(axis=(0, 1))  # [n_embd]
    ln_f = dict(params["ln_f"])
    bias = ln_f.pop("b")
    from_blocks = frozen_layer_norm(blocks, state, **ln_f) @ direction  # [n_layer, n_head + 2]
    return from_blocks, frozen_layer_norm(embeddings, state, **ln_f) @ direction, bias @ direction


def main(prompt: str, token: str = "", other: str = "", model_size: str = None, out: str = "attribution.png"):
    """Draw how much each head and each MLP adds to the logit of a token, minus that of another token.

    Args:
        prompt: the text before the token.
        token: the token, such as " red".
        other: the other token, such as " blue".
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids, n_head = encode_within_context(encoder, prompt, params), hparams["n_head"]
    pair = [encode_single_token(encoder, "token", token), encode_single_token(encoder, "other", other)]
    if pair[0] == pair[1]:
        raise ValueError("--token and --other must differ")
    row, other_row = params.get("lm_head", params["wte"])[pair]  # [n_vocab, n_embd] -> 2 times [n_embd]
    blocks, embeddings, bias = attribution(ids, params, n_head, row - other_row)
    token, other = picture_labels(encoder, pair)
    title = f"logit of {token} − logit of {other} = {blocks.sum() + embeddings + bias:.2f}\n"
    title += f"embeddings {embeddings:.2f}, bias of ln_f {bias:.2f}, and:"
    rows = [f"layer {layer}" for layer in range(len(blocks))]
    columns = [*(f"head {head}" for head in range(n_head)), "bias", "MLP"]
    write_picture(out, draw_layer_map(blocks, rows, columns, title, "added to the difference"))


if __name__ == "__main__":
    run(main)
