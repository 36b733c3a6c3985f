"""The forward pass against transformers' own, run side by side, where PyTorch is installed.

pip install -r tests/requirements-reference.txt && pytest tests/test_against_transformers.py
"""

import numpy as np
import pytest
from random_params import random_params

import gpt2
import gpt2_pico

WHY = "PyTorch and transformers are not installed: pip install -r tests/requirements-reference.txt"
pytest.importorskip("torch", reason=WHY)
pytest.importorskip("transformers", reason=WHY)

from reference import reference_logits, reference_model  # noqa: E402


def check(model, ids, params, n_head):
    """The largest differences of logits: at most 1e-4 from transformers, and 1e-5 between our two."""
    ours = gpt2.gpt2(ids, **params, n_head=n_head)
    pico = gpt2_pico.gpt2(ids, **params, n_head=n_head)
    expected = reference_logits(model, np.atleast_2d(ids))
    assert ours.dtype == pico.dtype == expected.dtype == np.float32
    from_reference = np.abs(ours - expected.reshape(ours.shape)).max()
    from_pico = np.abs(ours - pico).max()
    print(f"{np.shape(ids)}: {from_reference:.1e} from transformers, {from_pico:.1e} from gpt2_pico")
    assert from_reference <= 1e-4
    assert from_pico <= 1e-5


@pytest.fixture(scope="module")
def demo_reference(demo):
    _, hparams, params = demo
    return reference_model(params, hparams)


def test_prompts_of_the_fixture(demo, demo_logits, demo_reference):
    _, hparams, params = demo
    for ids in demo_logits["prompts"]:
        check(demo_reference, ids, params, hparams["n_head"])


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (5, 100), (3, 256)])
def test_batches(demo, demo_reference, shape):
    _, hparams, params = demo
    ids = np.random.default_rng(1).integers(hparams["n_vocab"], size=shape)
    check(demo_reference, ids, params, hparams["n_head"])


@pytest.fixture(scope="module")
def shapes_of_124M():
    """Seeded random weights in the shapes of GPT-2 124M: hparams, params, transformers' model."""
    hparams = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
    params = random_params(n_vocab=50257, n_ctx=1024, n_embd=768, n_layer=12, std=0.04, seed=2)
    return hparams, params, reference_model(params, hparams)


@pytest.mark.parametrize("shape", [(1,), (40,), (1, 300), (3, 50), (1024,)])
def test_shapes_of_124M(shapes_of_124M, shape):
    hparams, params, model = shapes_of_124M
    ids = np.random.default_rng(3).integers(hparams["n_vocab"], size=shape)
    check(model, ids, params, hparams["n_head"])
