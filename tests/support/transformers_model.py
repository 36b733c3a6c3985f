"""Hugging Face transformers' GPT-2 in float32 with given parameters: the reference for the forward pass."""

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel


def reference_model(params, hparams):
    """`params` as `gpt2` takes them -> a GPT2LMHeadModel."""
    config = GPT2Config(
        vocab_size=hparams["n_vocab"],
        n_positions=hparams["n_ctx"],
        n_embd=hparams["n_embd"],
        n_layer=hparams["n_layer"],
        n_head=hparams["n_head"],
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    names = {"g": "weight", "b": "bias", "w": "weight"}
    state = {"transformer.wte.weight": params["wte"], "transformer.wpe.weight": params["wpe"]}

    def collect(prefix, tree):
        for name, value in tree.items():
            if isinstance(value, dict):
                collect(f"{prefix}.{name}", value)
            else:
                state[f"{prefix}.{names[name]}"] = value

    collect("transformer.ln_f", params["ln_f"])
    for layer, block in enumerate(params["blocks"]):
        collect(f"transformer.h.{layer}", block)
    state["lm_head.weight"] = params["wte"]

    model = GPT2LMHeadModel(config).eval()
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    return model


def reference_logits(model, ids):
    """ids [n_batch, n_seq] -> logits [n_batch, n_seq, n_vocab], float32."""
    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()
