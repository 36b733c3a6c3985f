"""docs/interventions.md: its figures equal those of forward hooks on transformers' GPT-2."""

from functools import partial

import numpy as np
import pytest
import torch
from support.documents import outputs_of
from support.experiment_helpers import run_reference
from support.paths import ROOT

TEXT = 'Anna lost her red hat. "What color is it?" asked Tom. "It is'
COLOR = 3  # the place of " red" in TEXT
SNIPPETS = ("logit lens", "patching", "ablation", "attribution", "steering")
OUTPUTS = dict(
    zip(SNIPPETS, [output for _, output in outputs_of(ROOT / "docs/interventions.md", "python")], strict=True)
)


@pytest.fixture
def difference(encoder, reference):
    """difference(text): the logit of " red" minus that of " blue" after a text, in transformers."""
    red, blue = encoder.encode(" red blue")

    def difference(text=TEXT):
        logits = run_reference(reference, encoder.encode(text)).logits[0, -1]
        return (logits[red] - logits[blue]).item()

    return difference


def assert_shown(name, expected):
    np.testing.assert_allclose([float(n) for n in OUTPUTS[name].split()], expected, atol=2e-4)


def states_of(reference, encoder, text):
    """The inputs of all blocks, and the output of ln_f: [n_layer + 1] times [n_seq, n_embd]."""
    return [
        x[0] for x in run_reference(reference, encoder.encode(text), output_hidden_states=True).hidden_states
    ]


def test_logit_lens(encoder, reference):
    *states, last = states_of(reference, encoder, TEXT)
    decoded = [reference.lm_head(reference.transformer.ln_f(x[-1])) for x in states[1:]]
    ids = [int(torch.argmax(logits)) for logits in [*decoded, reference.lm_head(last[-1])]]
    assert OUTPUTS["logit lens"] == encoder.decode(ids) + "\n"


def test_patching(encoder, reference, difference):
    def patch(module, arguments, state):
        x = arguments[0].clone()
        x[0, COLOR] = state[COLOR]
        return (x, *arguments[1:])

    expected = []
    states = states_of(reference, encoder, TEXT)
    for block, state in zip(reference.transformer.h, states, strict=False):
        hook = block.register_forward_pre_hook(partial(patch, state=state))
        expected.append(difference(TEXT.replace("red", "blue")))
        hook.remove()
    assert_shown("patching", expected)


def test_ablation(reference, model, difference):
    def knock_out(module, arguments, head):
        heads = arguments[0].unflatten(-1, (model["n_head"], -1)).clone()  # [1, n_seq, n_head, head_dim]
        heads[:, :, head] = 0
        return (heads.flatten(-2),)

    expected = []
    for head in range(model["n_head"]):
        c_proj = reference.transformer.h[5].attn.c_proj
        hook = c_proj.register_forward_pre_hook(partial(knock_out, head=head))
        expected.append(difference())
        hook.remove()
    assert_shown("ablation", expected)


def test_attribution(encoder, reference, difference):
    """Hooks record the parts."""
    parts = []

    def record(module, arguments, output):
        parts.append((output[0] if isinstance(output, tuple) else output)[0, -1])

    modules = [module for block in reference.transformer.h for module in (block.attn, block.mlp)]
    for module in [reference.transformer.drop, *modules]:
        module.register_forward_hook(record)
    total = difference()
    x = torch.stack(parts).sum(dim=0)
    red, blue = encoder.encode(" red blue")
    ln_f, wte = reference.transformer.ln_f, reference.lm_head.weight
    scale = torch.sqrt(x.var(unbiased=False) + ln_f.eps)
    expected = [
        ((part - part.mean()) / scale * ln_f.weight @ (wte[red] - wte[blue])).item() for part in parts
    ]
    assert_shown("attribution", [*expected, total])


def test_steering(encoder, reference):
    plus, minus = (states_of(reference, encoder, word)[2][-1] for word in (" girl", " boy"))

    def add(module, arguments, output, vector):
        return output + vector

    texts = []
    for vector in (torch.zeros_like(plus), plus - minus):
        hook = reference.transformer.h[1].mlp.register_forward_hook(partial(add, vector=vector))
        ids = encoder.encode("Once upon a time a king had one child, a")
        for _ in range(12):
            ids.append(int(torch.argmax(run_reference(reference, ids).logits[0, -1])))
        texts.append(encoder.decode(ids[-12:]) + "\n")
        hook.remove()
    assert OUTPUTS["steering"] == "".join(texts)
