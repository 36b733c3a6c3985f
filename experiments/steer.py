"""Steer a text: add the activation difference of two prompts while the model writes.

    python experiments/steer.py --plus=" girl" --minus=" boy" "Once upon a time a king had one child, a"

The steering vector is the difference of two prompts' hidden states before one layer. The script multiplies it
by a coefficient and adds it to the first tokens of the text. In the paper, <|endoftext|> begins each prompt.

Method: Turner et al., "Activation Addition: Steering Language Models Without Optimization", arXiv:2308.10248.
"""

from itertools import zip_longest
from textwrap import wrap

import numpy as np
from helpers.hidden_states import decode_state, hidden_states
from helpers.token_labels import encode_within_context

from cli.exit_status import run
from gpt2 import transformer_block
from utils import load_encoder_hparams_and_params

WIDTH = 32  # characters in a line of a column


def steering_vector(plus_ids, minus_ids, params, n_head, layer):
    """The difference of two prompts before a layer. Ids [n_prompt] of each -> [n_prompt, n_embd]."""
    if len(plus_ids) != len(minus_ids):
        lengths = f"{len(plus_ids)} and {len(minus_ids)} tokens"
        raise ValueError(f"plus and minus have {lengths}: add spaces at the end of the shorter one")
    return hidden_states(plus_ids, params, n_head)[layer] - hidden_states(minus_ids, params, n_head)[layer]


def steered_logits(ids, vector, params, n_head, layer):
    """Add the vector to the first tokens, before the layer. [n_seq], [n_prompt, n_embd] -> [n_vocab]."""
    x = params["wte"][np.asarray(ids)] + params["wpe"][: len(ids)]  # [n_seq] -> [n_seq, n_embd]
    for number, block in enumerate(params["blocks"]):
        if number == layer:
            x[: len(vector)] += vector[: len(x)]  # the intervention
        x = transformer_block(x, **block, n_head=n_head)  # [n_seq, n_embd] -> [n_seq, n_embd]
    return decode_state(x[-1], params)  # [n_embd] -> [n_vocab]


def steered_ids(ids, vector, n_tokens, stop_ids, **model):
    """Continue a text greedily. [n_seq] -> the ids of at most n_tokens new tokens."""
    new_ids = []
    while len(new_ids) < n_tokens:
        next_id = int(np.argmax(steered_logits([*ids, *new_ids], vector, **model)))
        if next_id in stop_ids:
            break
        new_ids.append(next_id)
    return new_ids


def side_by_side(texts):
    """Format texts as columns. {title: text} -> lines."""
    columns = [[title, *wrap(text, WIDTH)] for title, text in texts.items()]
    for cells in zip_longest(*columns, fillvalue=""):
        yield "  ".join(f"{cell:{WIDTH}}" for cell in cells).rstrip()


def main(
    prompt: str,
    plus: str = None,
    minus: str = None,
    layer: int = None,
    coefficient: float = 4.0,
    n_tokens: int = 30,
    model_size: str = None,
):
    """Print three texts side by side: steered towards minus, not steered, steered towards plus.

    Args:
        prompt: the text to continue.
        plus: the prompt whose hidden states are added.
        minus: the prompt whose hidden states are subtracted. It has as many tokens as plus.
        layer: the layer that reads the sum, counted from 0. The default is a third of n_layer.
        coefficient: the factor of the steering vector, more than 0.
        n_tokens: the number of tokens to generate.
        model_size: the model, as for gpt2.py.
    """
    if plus is None or minus is None or coefficient <= 0:
        raise ValueError("give --plus and --minus, and a coefficient of more than 0")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    layer = hparams["n_layer"] // 3 if layer is None else layer
    if layer >= hparams["n_layer"]:
        raise ValueError(f"layer must be from 0 to {hparams['n_layer'] - 1}, not {layer}")
    ids, *pair = (encode_within_context(encoder, text, params) for text in (prompt, plus, minus))
    if len(ids) + n_tokens > hparams["n_ctx"]:
        raise ValueError(f"the prompt and {n_tokens} new tokens exceed the context of {hparams['n_ctx']}")
    model = {"params": params, "n_head": hparams["n_head"], "layer": layer}
    vector = steering_vector(*pair, **model)  # [n_prompt, n_embd]
    texts = {}
    for factor in (-coefficient, 0, coefficient):
        new_ids = steered_ids(ids, factor * vector, n_tokens, encoder.stop_ids, **model)
        texts[f"coefficient {factor:g}"] = encoder.decode(new_ids)
    print("\n".join(side_by_side(texts)))


if __name__ == "__main__":
    run(main)
