"""Forward pass, sampling and generation against transformers, side by side, where PyTorch is installed.

pip install -r tests/requirements-reference.txt && pytest tests/test_against_transformers.py
"""

import itertools
import shutil

import numpy as np
import pytest
from random_params import random_params

import gpt2
import gpt2_pico
import sampling

WHY = "PyTorch and transformers are not installed: pip install -r tests/requirements-reference.txt"
pytest.importorskip("torch", reason=WHY)
pytest.importorskip("transformers", reason=WHY)

import torch  # noqa: E402
from reference import reference_logits, reference_model  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer  # noqa: E402
from transformers.generation import logits_process  # noqa: E402

from utils import DEMO_DIR, load_encoder_hparams_and_params  # noqa: E402


def check(model, ids, params, n_head):
    """The largest differences of logits: at most 1e-4 from transformers, and 5e-5 between our two."""
    ours = gpt2.gpt2(ids, **params, n_head=n_head)
    pico = gpt2_pico.gpt2(ids, **params, n_head=n_head)
    expected = reference_logits(model, np.atleast_2d(ids))
    assert ours.dtype == pico.dtype == expected.dtype == np.float32
    from_reference = np.abs(ours - expected.reshape(ours.shape)).max()
    from_pico = np.abs(ours - pico).max()
    print(f"{np.shape(ids)}: {from_reference:.1e} from transformers, {from_pico:.1e} from gpt2_pico")
    assert from_reference <= 1e-4
    assert from_pico <= 5e-5


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


# Sampling, step by step.

OPTIONS = {
    "repetition_penalty": [1.0, 1.3, 0.8],
    "temperature": [1.0, 0.6, 1.8],
    "top_k": [0, 1, 7],
    "top_p": [1.0, 0.9, 0.35],
    "min_p": [0.0, 0.1],
}
COMBINATIONS = [dict(zip(OPTIONS, values, strict=True)) for values in itertools.product(*OPTIONS.values())]


def their_steps(previous, logits, repetition_penalty, temperature, top_k, top_p, min_p):
    """transformers' processors, in the order in which its own `generate` applies them."""
    processors = logits_process.LogitsProcessorList()
    if repetition_penalty != 1:
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(repetition_penalty))
    if temperature != 1:
        processors.append(logits_process.TemperatureLogitsWarper(temperature))
    if top_k:
        processors.append(logits_process.TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(logits_process.TopPLogitsWarper(top_p))
    if min_p:
        processors.append(logits_process.MinPLogitsWarper(min_p))
    return processors(torch.tensor(previous), torch.tensor(logits, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_what_is_drawn_from_is_what_transformers_draws_from(options, monkeypatch):
    """The logits that reach `draw`, one by one; ours differ by a constant, which changes no probability."""
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(20, 200)).astype(np.float32) * rng.uniform(0.5, 4, size=(20, 1)).astype(
        np.float32
    )
    previous = rng.integers(200, size=(20, 30))
    drawn_from = []
    monkeypatch.setattr(sampling, "draw", lambda logits, rng: drawn_from.append(logits))
    sampling.sample(logits, **options, previous=previous)
    theirs = their_steps(previous, logits, **options)
    ours = drawn_from[0]
    assert np.array_equal(np.isinf(ours), np.isinf(theirs))
    ours, theirs = ours - ours.max(axis=-1, keepdims=True), theirs - theirs.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


# Generation.


def their_greedy(model, ids, n_tokens):
    ids = torch.tensor([ids])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_tokens, do_sample=False
    )
    return output[0, ids.shape[1] :].tolist()


def test_greedy_text_on_shapes_of_124M(shapes_of_124M):
    hparams, params, model = shapes_of_124M
    ids = np.random.default_rng(5).integers(hparams["n_vocab"], size=20).tolist()
    assert list(gpt2.generate(ids, params, hparams["n_head"], 30)) == their_greedy(model, ids, 30)


def test_scores_are_minus_the_loss(demo, demo_reference):
    _, hparams, params = demo
    ids = np.random.default_rng(6).integers(hparams["n_vocab"], size=256).tolist()
    with torch.no_grad():
        loss = demo_reference(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    assert -gpt2.score(ids, params, hparams["n_head"]).mean() == pytest.approx(loss, abs=1e-4)


# Hugging Face's folders, as transformers writes them now.

CHANGES = {
    "float32": ({}, torch.float32, {}),
    "float16": ({}, torch.float16, {}),
    "bfloat16": ({}, torch.bfloat16, {}),
    "sharded": ({}, torch.float32, {"max_shard_size": "500KB"}),
    "untied": ({"tie_word_embeddings": False}, torch.float32, {}),
    "untied halves in shards": ({"tie_word_embeddings": False}, torch.float16, {"max_shard_size": "500KB"}),
    "n_inner": ({"n_inner": 100}, torch.float32, {}),
    "epsilon": ({"layer_norm_epsilon": 1e-2}, torch.float32, {}),
    "scaled by layer": ({"scale_attn_by_inverse_layer_idx": True}, torch.float32, {}),
    "without a head": ({}, torch.float32, {}),
    "other name of gelu": ({"activation_function": "gelu_pytorch_tanh"}, torch.float32, {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_transformers_saves(tmp_path, change):
    """With the demo's tokenizer, as it saves that; without a head the names have no prefix."""
    changes, dtype, how = CHANGES[change]
    for old, new in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        shutil.copy(DEMO_DIR / old, tmp_path / new)
    tokenizer = GPT2Tokenizer.from_pretrained(tmp_path)
    folder = tmp_path / "saved"
    tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": 4096, "n_positions": 128, "n_embd": 96, "n_head": 4, "n_layer": 4}
    config = GPT2Config(**sizes, **changes, eos_token_id=4095, bos_token_id=4095, initializer_range=0.1)
    torch.manual_seed(0)
    saved = GPT2LMHeadModel(config).to(dtype)
    (saved.transformer if change == "without a head" else saved).save_pretrained(folder, **how)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    encoder, hparams, params = load_encoder_hparams_and_params(str(folder))
    ids = encoder.encode("Once upon a time there was a king who had a daughter, and")
    assert ids == tokenizer("Once upon a time there was a king who had a daughter, and")["input_ids"]
    check(model, ids, params, hparams["n_head"])
    check(model, np.random.default_rng(0).integers(4096, size=(2, 128)), params, hparams["n_head"])
    assert list(gpt2.generate(ids, params, hparams["n_head"], 30)) == their_greedy(model, ids, 30)
