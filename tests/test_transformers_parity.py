"""Forward pass, sampling, generation and folders against transformers. Skipped without PyTorch.

pip install -r tests/requirements-reference.txt && pytest tests/test_transformers_parity.py
"""

import itertools
import shutil

import numpy as np
import pytest
from support.random_params import random_params

import gpt2
import gpt2_pico
from generation import min_p_and_repetition
from generation.scoring import score
from utils import DEMO_DIR, load_encoder_hparams_and_params

WHY = "PyTorch and transformers are not installed: pip install -r tests/requirements-reference.txt"
pytest.importorskip("torch", reason=WHY)
pytest.importorskip("transformers", reason=WHY)

import torch  # noqa: E402
from support.transformers_model import reference_logits, reference_model  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer  # noqa: E402
from transformers.generation import logits_process  # noqa: E402


def check(model, ids, params, n_head):
    """Logits differ by at most 1e-4 from transformers, and by at most 1e-5 from gpt2_pico.

    In a batch, BLAS sums in another order than for each text alone: up to 5e-5 from gpt2_pico.
    """
    ours = gpt2.gpt2(ids, **params, n_head=n_head)
    texts = np.atleast_2d(ids)
    pico = np.stack([gpt2_pico.gpt2(text, **params, n_head=n_head) for text in texts]).reshape(ours.shape)
    expected = reference_logits(model, texts)
    assert ours.dtype == pico.dtype == expected.dtype == np.float32
    from_reference = np.abs(ours - expected.reshape(ours.shape)).max()
    from_pico = np.abs(ours - pico).max()
    print(f"{np.shape(ids)}: {from_reference:.1e} from transformers, {from_pico:.1e} from gpt2_pico")
    assert from_reference <= 1e-4
    assert from_pico <= (1e-5 if len(texts) == 1 else 5e-5)


@pytest.fixture(scope="module")
def demo_reference(demo):
    _, hparams, params = demo
    return reference_model(params, hparams)


def test_logits_of_texts(demo, demo_logits, demo_reference):
    _, hparams, params = demo
    for ids in demo_logits["prompts"]:
        check(demo_reference, ids, params, hparams["n_head"])


@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (5, 100), (3, 256)])
def test_logits_of_batches(demo, demo_reference, shape):
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
def test_logits_in_shapes_of_124M(shapes_of_124M, shape):
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


def reference_steps(previous, logits, repetition_penalty, temperature, top_k, top_p, min_p):
    """The logits after transformers' processors, in the order of its `generate`."""
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
def test_sampling_steps_equal_those_of_transformers(options, monkeypatch):
    """Compare the logits that reach `draw`. Ours differ by a constant, which changes no probability."""
    rng = np.random.default_rng(4)
    logits = (rng.normal(size=(20, 200)) * rng.uniform(0.5, 4, size=(20, 1))).astype(np.float32)
    previous = rng.integers(200, size=(20, 30))
    drawn_from = []
    monkeypatch.setattr(min_p_and_repetition, "draw", lambda logits, rng: drawn_from.append(logits))
    min_p_and_repetition.sample(logits, previous, None, **options)
    expected = reference_steps(previous, logits, **options)
    ours = drawn_from[0]
    assert np.array_equal(np.isinf(ours), np.isinf(expected))
    ours = ours - ours.max(axis=-1, keepdims=True)
    expected = expected - expected.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


# Generation.


def reference_greedy(model, ids, n_tokens):
    ids = torch.tensor([ids])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_tokens, do_sample=False
    )
    return output[0, ids.shape[1] :].tolist()


def test_greedy_ids_in_shapes_of_124M(shapes_of_124M):
    hparams, params, model = shapes_of_124M
    ids = np.random.default_rng(5).integers(hparams["n_vocab"], size=20).tolist()
    assert list(gpt2.generate(ids, params, hparams["n_head"], 30)) == reference_greedy(model, ids, 30)


def test_scores_equal_the_negative_loss(demo, demo_reference):
    _, hparams, params = demo
    ids = np.random.default_rng(6).integers(hparams["n_vocab"], size=256).tolist()
    with torch.no_grad():
        loss = demo_reference(torch.tensor([ids]), labels=torch.tensor([ids])).loss.item()
    assert -score(ids, params, hparams["n_head"]).mean() == pytest.approx(loss, abs=1e-4)


# Folders in Hugging Face's layout, saved by the installed transformers.

CONFIGS = {
    "float32": ({}, torch.float32, {}),
    "float16": ({}, torch.float16, {}),
    "bfloat16": ({}, torch.bfloat16, {}),
    "sharded": ({}, torch.float32, {"max_shard_size": "500KB"}),
    "untied": ({"tie_word_embeddings": False}, torch.float32, {}),
    "untied float16 in shards": ({"tie_word_embeddings": False}, torch.float16, {"max_shard_size": "500KB"}),
    "n_inner": ({"n_inner": 100}, torch.float32, {}),
    "epsilon": ({"layer_norm_epsilon": 1e-2}, torch.float32, {}),
    "scaled by layer": ({"scale_attn_by_inverse_layer_idx": True}, torch.float32, {}),
    "without lm_head": ({}, torch.float32, {}),
    "another name of gelu": ({"activation_function": "gelu_pytorch_tanh"}, torch.float32, {}),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_folders_load_to_the_same_model(tmp_path, name):
    """Each folder has the tokenizer of the demo model. Without lm_head, tensor names have no prefix."""
    changes, dtype, options = CONFIGS[name]
    for old, new in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        shutil.copy(DEMO_DIR / old, tmp_path / new)
    tokenizer = GPT2Tokenizer.from_pretrained(tmp_path)
    folder = tmp_path / "saved"
    tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": 4096, "n_positions": 128, "n_embd": 96, "n_head": 4, "n_layer": 4}
    config = GPT2Config(**sizes, **changes, eos_token_id=4095, bos_token_id=4095, initializer_range=0.1)
    torch.manual_seed(0)
    saved = GPT2LMHeadModel(config).to(dtype)
    (saved.transformer if name == "without lm_head" else saved).save_pretrained(folder, **options)
    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    encoder, hparams, params = load_encoder_hparams_and_params(str(folder))
    text = "Once upon a time there was a king who had a daughter, and"
    ids = encoder.encode(text)
    assert ids == tokenizer(text)["input_ids"]
    check(model, ids, params, hparams["n_head"])
    check(model, np.random.default_rng(0).integers(4096, size=(2, 128)), params, hparams["n_head"])
    assert list(gpt2.generate(ids, params, hparams["n_head"], 30)) == reference_greedy(model, ids, 30)
