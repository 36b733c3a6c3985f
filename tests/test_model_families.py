"""Small models with the settings and files of the families in docs/models.md give what transformers gives.

pip install -r tests/requirements-reference.txt && pytest tests/test_model_families.py

The folders are written by transformers and PyTorch. They have the family's settings, its special tokens and
the format of its weights, and random weights.
"""

import json
import shutil

import numpy as np
import pytest
from support.hub_models import HUB

import gpt2
from utils import load_encoder_hparams_and_params

WHY = "PyTorch and transformers are not installed: pip install -r tests/requirements-reference.txt"
torch = pytest.importorskip("torch", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

TEXTS = [
    "the cat",
    "once upon <|endoftext|> a time",
    "<s>the<pad> end</s>",
    "naïve [SEP] 12 <|startoftext|> le",
]
SIZES = {"n_positions": 96, "n_embd": 16, "n_head": 2, "n_layer": 3, "initializer_range": 0.3}
RUSSIAN = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
CRFM = {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True}
ADDED = {"added_tokens.json": {"<|startoftext|>": 301, "[SEP]": 302}}

# Family: settings of config.json, rows of the embeddings, format of the weights, other files.
FAMILIES = {
    "gpt2, distilgpt2": ({}, 301, "safetensors", {}),
    "DialoGPT": ({}, 301, "bin", {}),
    "DialoGPT, before PyTorch 1.6": ({}, 301, "legacy", {}),
    "Cerebras-GPT": ({"activation_function": "gelu", "n_inner": 48}, 301, "bin", {}),
    "rugpt3": ({}, 307, "bin", {"special_tokens_map.json": RUSSIAN}),
    "CRFM Mistral": (CRFM, 301, "bin", {}),
    "codeparrot": ({**CRFM, "layer_norm_epsilon": 1e-6}, 301, "safetensors", {}),
    "a fine-tuned model with two more tokens": ({"bos_token_id": 301}, 303, "safetensors", ADDED),
    "a model with fewer rows than tokens": ({}, 301, "safetensors", {"added_tokens.json": {"[PAD]": 301}}),
    "a model that never ends": ({"eos_token_id": None}, 301, "safetensors", {}),
    "a model with two ends": ({"eos_token_id": [17, 300]}, 301, "safetensors", {}),
    "a nanoGPT export": ({"activation_function": "gelu"}, 304, "module.bin", {}),
    "a classifier": ({}, 301, "score", {}),
}


def make_model(folder, settings, n_vocab, weights, files):
    """Write the folder of a model with random weights, and return the model of transformers."""
    shutil.copytree(HUB / "float32", folder, ignore=shutil.ignore_patterns("model*", "*config.json"))
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    ends = {"bos_token_id": 300, "eos_token_id": 300}
    torch.manual_seed(1)
    config = transformers.GPT2Config(**SIZES | ends | {"vocab_size": n_vocab} | settings)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    tensors = model.state_dict()
    if weights != "safetensors":
        (folder / "model.safetensors").unlink()
        prefix = "module." if weights == "module.bin" else ""
        tensors = {prefix + name: tensor for name, tensor in tensors.items()}
        tensors |= {"score.weight": torch.zeros(2, 16)} if weights == "score" else {}
        is_zip = weights != "legacy"
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    return model


@pytest.mark.filterwarnings("ignore:tensors outside GPT-2 are skipped")
@pytest.mark.parametrize("family", FAMILIES)
def test_ids_logits_and_greedy_text_are_those_of_transformers(tmp_path, family):
    folder = tmp_path / "model"
    model = make_model(folder, *FAMILIES[family])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder, hparams, params = load_encoder_hparams_and_params(str(folder))
    for text in TEXTS:
        ids = tokenizer.encode(text)
        if max(ids) >= hparams["n_vocab"]:
            with pytest.raises(ValueError, match="which the model does not know"):
                encoder.encode(text)
            continue
        assert encoder.encode(text) == ids
        inputs = torch.tensor([ids])
        with torch.no_grad():
            logits = model(inputs).logits[0].numpy()
        ours = gpt2.gpt2(ids, **params, n_head=hparams["n_head"])
        np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-4)
        theirs = model.generate(inputs, max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
        new_ids = list(gpt2.generate(ids, params, hparams["n_head"], 12, stop_id=encoder.stop_ids))
        if theirs and theirs[-1] in encoder.stop_ids:
            theirs.pop()  # transformers returns the end, too
        assert new_ids == theirs
        assert encoder.decode(new_ids) == tokenizer.decode(new_ids, clean_up_tokenization_spaces=False)
