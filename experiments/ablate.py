"""Ablation: knock out each attention head and each MLP, and measure the cost in loss.

    python experiments/ablate.py "Once upon a time there was a king who had three sons"
    python experiments/ablate.py --ablation=mean "Once upon a time there was a king who had three sons"

Zero ablation replaces the output of a head or an MLP by 0. Mean ablation replaces it by its mean over the
tokens of the text. The cost is the loss of the ablated model minus the loss of the intact model, in nats per
token. A part with a negative cost does harm on this text.

Zero ablation of single heads: Michel et al., "Are Sixteen Heads Really Better than One?", arXiv:1905.10650.
"""

import numpy as np
from helpers.hidden_states import decode_state, head_outputs, hidden_states
from helpers.layer_map import draw_layer_map
from helpers.output_files import write_picture
from helpers.progress_bar import progress_bar
from helpers.token_labels import encode_within_context

from cli.exit_status import run
from generation.scoring import log_probs_of
from gpt2 import ffn, layer_norm, linear, mha, transformer_block
from utils import load_encoder_hparams_and_params

# The replacement of an output, [n_seq, n] -> [n].
ABLATIONS = {"zero": lambda output: 0 * output[0], "mean": lambda output: output.mean(axis=0)}


def without_head(x, block, n_head, head, ablation):
    """A transformer block with one head knocked out. [n_seq, n_embd] -> [n_seq, n_embd]."""
    heads = head_outputs(x, block, n_head)  # [n_seq, n_embd] -> [n_seq, n_head, head_dim]
    heads[:, head] = ABLATIONS[ablation](heads[:, head])  # the intervention
    x = x + linear(heads.reshape(x.shape), **block["attn"]["c_proj"])  # -> [n_seq, n_embd]
    return x + ffn(layer_norm(x, **block["ln_2"]), **block["mlp"])


def without_mlp(x, block, n_head, ablation):
    """A transformer block with its MLP knocked out. [n_seq, n_embd] -> [n_seq, n_embd]."""
    x = x + mha(layer_norm(x, **block["ln_1"]), **block["attn"], n_head=n_head)
    output = ffn(layer_norm(x, **block["ln_2"]), **block["mlp"])
    return x + ABLATIONS[ablation](output)  # the intervention


def loss(x, blocks, targets, params, n_head):
    """Run the other blocks. [n_seq, n_embd] -> the mean surprise of the next tokens, in nats."""
    for block in blocks:
        x = transformer_block(x, **block, n_head=n_head)  # [n_seq, n_embd] -> [n_seq, n_embd]
    return -log_probs_of(targets, decode_state(x, params)).mean()


def ablation_costs(ids, params, n_head, ablation="zero"):
    """Yield the costs layer by layer: its heads, then its MLP. ids [n_seq + 1] -> [n_head + 1] per layer."""
    inputs, targets = ids[:-1], ids[1:]
    states = hidden_states(inputs, params, n_head)  # [n_layer + 1, n_seq, n_embd]
    intact_loss = loss(states[-1], [], targets, params, n_head)
    for layer, block in enumerate(params["blocks"]):
        x, later_blocks = states[layer], params["blocks"][layer + 1 :]
        ablated = [without_head(x, block, n_head, head, ablation) for head in range(n_head)]
        ablated.append(without_mlp(x, block, n_head, ablation))
        yield [loss(x, later_blocks, targets, params, n_head) - intact_loss for x in ablated]


def main(prompt: str, ablation: str = "zero", model_size: str = None, out: str = "ablate.png"):
    """Draw the cost of knocking out each head and each MLP, on one text.

    Args:
        prompt: the text.
        ablation: zero or mean.
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    if ablation not in ABLATIONS:
        raise ValueError(f"ablation must be zero or mean, not {ablation}")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    ids = [*encoder.start_ids, *encode_within_context(encoder, prompt, params)]
    if len(ids) < 2:
        raise ValueError("there is no token to predict")
    n_layer, n_head = hparams["n_layer"], hparams["n_head"]
    layers = ablation_costs(ids, params, n_head, ablation)
    costs = np.array(list(progress_bar(layers, n_layer, "layer")))  # [n_layer, n_head + 1]
    rows = [f"layer {layer}" for layer in range(n_layer)]
    columns = [*(f"head {head}" for head in range(n_head)), "MLP"]
    limit = np.abs(costs[:, :-1]).max()  # of the heads: some MLPs cost much more
    title, label = f"{ablation} ablation", "cost in nats per token"
    write_picture(out, draw_layer_map(costs, rows, columns, title, label, limit))


if __name__ == "__main__":
    run(main)
