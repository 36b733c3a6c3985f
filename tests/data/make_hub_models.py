"""Writes hub/: small random models as transformers saves them, and what it makes of a prompt with each.

    pip install -r tests/requirements-reference.txt && python tests/data/make_hub_models.py

expected.json in each folder has the ids of a prompt, transformers' logits for them in float32, and the text
that its `generate` goes on with.
"""

import json
import shutil
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "models" / "demo"
N_MERGES = 44
PROMPT = "Once upon a time the"

# Folder -> what is different from GPT-2's own configuration, the type of the weights, and how they are saved.
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
}


def make_tokenizer(folder):
    """A tokenizer of the demo's first merges, as GPT-2's is saved -> how many tokens it has."""
    merges = (DEMO / "vocab.bpe").read_text(encoding="utf-8").splitlines()[: N_MERGES + 1]
    tokens = list(json.loads((DEMO / "encoder.json").read_text(encoding="utf-8")))[: 256 + N_MERGES]
    vocabulary = {token: id for id, token in enumerate([*tokens, "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    return len(vocabulary)


def make_model(name, changes, dtype, how):
    folder = HERE / "hub" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    n_vocab = make_tokenizer(folder)
    tokenizer = GPT2Tokenizer.from_pretrained(folder)
    if name != "float32":  # one with vocab.json and merges.txt, the others as transformers 5 saves it
        (folder / "vocab.json").unlink()
        (folder / "merges.txt").unlink()
        tokenizer.save_pretrained(folder)
    sizes = {"vocab_size": n_vocab, "n_positions": 32, "n_embd": 16, "n_head": 2, "n_layer": 3}
    ends = {"bos_token_id": n_vocab - 1, "eos_token_id": n_vocab - 1}
    torch.manual_seed(0)
    config = GPT2Config(**sizes | ends | {"initializer_range": 0.3} | changes, attn_implementation="eager")
    GPT2LMHeadModel(config).to(dtype).save_pretrained(folder, **how)

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
