"""Write hub/: small random models, saved by transformers, with its results for a prompt.

    pip install -r tests/requirements-reference.txt
    PYTHONPATH=.:tests python tests/data/make_hub_models.py

The results are in expected.json: the ids of the prompt, their float32 logits, and the ids and text that
`generate` appends.
"""

import json
import shutil

import torch
from support.hub_models import HUB
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from utils import DEMO_DIR

N_MERGES = 44
PROMPT = "Once upon a time the"

# Folder -> (changes to the default configuration, dtype of the weights, options of save_pretrained or, with
# n_files, of torch.save).
MODELS = {
    "float32": ({}, torch.float32, {}),
    "float16": ({}, torch.float16, {}),
    "bfloat16": ({}, torch.bfloat16, {}),
    "sharded": ({"tie_word_embeddings": False}, torch.float32, {"max_shard_size": "20KB"}),
    "other": (
        {
            "tie_word_embeddings": False,
            "n_inner": 24,
            "layer_norm_epsilon": 1e-3,
            "scale_attn_by_inverse_layer_idx": True,
            "reorder_and_upcast_attn": True,
        },
        torch.float32,
        {},
    ),
    "pytorch": ({"activation_function": "gelu"}, torch.float32, {"n_files": 1}),
    "pytorch_sharded": ({"activation_function": "gelu_fast"}, torch.bfloat16, {"n_files": 2}),
    "pytorch_legacy": ({}, torch.float16, {"n_files": 1, "_use_new_zipfile_serialization": False}),
}


def make_tokenizer(folder):
    """Write a tokenizer with the first merges of the demo, in the files of GPT-2 -> n_vocab."""
    merges = (DEMO_DIR / "vocab.bpe").read_text(encoding="utf-8").splitlines()[: N_MERGES + 1]
    tokens = list(json.loads((DEMO_DIR / "encoder.json").read_text(encoding="utf-8")))[: 256 + N_MERGES]
    vocabulary = {token: n for n, token in enumerate([*tokens, "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    return len(vocabulary)


def save_pytorch(model, folder, n_files, **options):
    """Write pytorch_model.bin, or an index and several files, as transformers did before version 5."""
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    tensors = model.state_dict()
    if n_files == 1:
        torch.save(tensors, folder / "pytorch_model.bin", **options)
        return
    shard_of = {name: f"pytorch_model-{n % n_files + 1:05d}.bin" for n, name in enumerate(tensors)}
    for shard in set(shard_of.values()):
        part = {name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}
        torch.save(part, folder / shard, **options)
    index = {"metadata": {}, "weight_map": shard_of}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")


def make_model(name, changes, dtype, options):
    """Write the folder of a model."""
    folder = HUB / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    n_vocab = make_tokenizer(folder)
    tokenizer = GPT2Tokenizer.from_pretrained(folder)
    if name != "float32":  # which keeps vocab.json and merges.txt; the others get a tokenizer.json
        (folder / "vocab.json").unlink()
        (folder / "merges.txt").unlink()
        tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": n_vocab, "n_positions": 32, "n_embd": 16, "n_head": 2, "n_layer": 3}
    ends = {"bos_token_id": n_vocab - 1, "eos_token_id": n_vocab - 1}
    torch.manual_seed(0)
    config = GPT2Config(**sizes | ends | {"initializer_range": 0.3} | changes, attn_implementation="eager")
    model = GPT2LMHeadModel(config).to(dtype)
    if "n_files" in options:
        save_pytorch(model, folder, **options)
    else:
        model.save_pretrained(folder, **options)

    model = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits[0]
    new_ids = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    expected = {
        "prompt": PROMPT,
        "ids": ids[0].tolist(),
        "logits": [[round(value, 6) for value in row] for row in logits.tolist()],
        "new_ids": new_ids.tolist(),
        "text": tokenizer.decode(new_ids, clean_up_tokenization_spaces=False),
    }
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    print(name, sorted(path.name for path in folder.iterdir()), expected["text"])


if __name__ == "__main__":
    for name, (changes, dtype, how) in MODELS.items():
        make_model(name, changes, dtype, how)
