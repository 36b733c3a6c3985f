"""Hugging Face's folders: models as transformers saved them, beside what it computes; and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT

import gpt2
import gpt2_pico
from checkpoint import CheckpointError
from encoder import get_encoder
from formats import missing_files
from utils import find_model_dir, load_encoder_hparams_and_params

HUB = ROOT / "tests" / "data" / "hub"
MODELS = ["float32", "float16", "bfloat16", "sharded", "other"]


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", MODELS)
def test_logits_and_text_are_those_of_transformers(model):
    expected = read_json(HUB / model / "expected.json")
    encoder, hparams, params = load_encoder_hparams_and_params(str(HUB / model))
    ids = encoder.encode(expected["prompt"])
    assert ids == expected["ids"]
    for module in (gpt2, gpt2_pico):
        logits = module.gpt2(ids, **params, n_head=hparams["n_head"])
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
    new_ids = list(gpt2.generate(ids, params, hparams["n_head"], 12))
    assert new_ids == expected["new_ids"]
    assert encoder.decode(new_ids) == expected["text"]


@pytest.mark.parametrize("model", MODELS)
def test_the_command_line_writes_the_text_of_transformers(run, model):
    expected = read_json(HUB / model / "expected.json")
    status, stdout, stderr = run(expected["prompt"], f"--model_size={HUB / model}", "-n=12", "--quiet")
    assert (status, stdout, stderr) == (0, expected["text"] + "\n", "")


# What a folder has.


@pytest.fixture
def hub_copy(tmp_path):
    """hub_copy(model): a copy of one of the models, to be changed."""
    return lambda model: shutil.copytree(HUB / model, tmp_path / model)


@pytest.mark.parametrize(
    ("model", "file", "missing"),
    [
        ("float32", "config.json", ["config.json"]),
        ("float32", "model.safetensors", ["model.safetensors"]),
        ("float32", "merges.txt", ["merges.txt"]),
        ("float32", "vocab.json", ["vocab.json"]),
        ("float16", "tokenizer.json", ["vocab.json", "merges.txt"]),
        ("sharded", "model-00002-of-00005.safetensors", ["model-00002-of-00005.safetensors"]),
        ("sharded", "model.safetensors.index.json", ["model.safetensors"]),
    ],
)
def test_missing_files_are_named(hub_copy, model, file, missing):
    folder = hub_copy(model)
    (folder / file).unlink()
    assert missing_files(folder) == missing
    with pytest.raises(
        FileNotFoundError, match=f"{model} is not a whole model: it lacks {', '.join(missing)}$"
    ):
        find_model_dir(str(folder))


def test_a_pickle_is_not_loaded(hub_copy):
    folder = hub_copy("float32")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin is a pickle, .* and is never loaded"):
        find_model_dir(str(folder))


def edit(path, **changes):
    path.write_text(json.dumps({**read_json(path), **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"model_type": "gpt_neo"}, "model_type 'gpt_neo' is not supported, only ['gpt2']"),
        ({"activation_function": "relu"}, "activation_function 'relu' is not supported"),
        ({"activation_function": "gelu"}, "activation_function 'gelu' is not supported"),
        ({"scale_attn_weights": False}, "scale_attn_weights False is not supported"),
        ({"add_cross_attention": True}, "add_cross_attention True is not supported"),
        ({"quantization_config": {"bits": 8}}, "quantization_config {'bits': 8} is not supported"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads {'0': [1]} is not supported"),
        (
            {"auto_map": {"AutoModel": "modeling.py"}},
            "auto_map {'AutoModel': 'modeling.py'} is not",
        ),
        ({"vocab_size": None}, "vocab_size is not a whole number from 1 up"),
        ({"n_positions": 0}, "n_positions is not a whole number from 1 up"),
        ({"n_positions": 33}, "wpe.weight is float32 [32, 16], not float32 [33, 16]"),
        ({"n_head": 3}, "n_embd is not a multiple of n_head"),
        ({"n_layer": 4}, "there is no variable transformer.h.3.attn.c_attn.weight"),
        ({"n_layer": 2}, "transformer.h.2.attn.c_attn.bias is not in a model of 2 layers"),
        ({"n_inner": 24}, "mlp.c_fc.weight is float32 [16, 64], not float32 [16, 24]"),
        ({"n_inner": 1.5}, "n_inner is not a whole number from 1 up"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is not a number between 0 and 1"),
        ({"layer_norm_epsilon": "1e-5"}, "layer_norm_epsilon is not a number between 0 and 1"),
        (
            {"tie_word_embeddings": False},
            "there is no lm_head.weight, though config.json",
        ),
        ({"is_causal": False}, "is_causal False is not supported"),
        ({"num_attention_heads": 4}, "num_attention_heads 4 is not n_head 2"),
        ({"vocab_size": 300}, "wte.weight is float32 [301, 16], not float32 [300, 16]"),
    ],
)
def test_what_is_not_supported_is_never_ignored(hub_copy, changes, fault):
    folder = hub_copy("float32")
    edit(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match=re.escape(fault)):
        load_encoder_hparams_and_params(str(folder))


def test_the_text_ends_where_the_model_says(hub_copy):
    folder = hub_copy("float32")

    def end_of_text():
        return load_encoder_hparams_and_params(str(folder))[0].end_of_text

    assert end_of_text() == 300
    edit(folder / "config.json", eos_token_id=7)
    assert end_of_text() == 300
    (folder / "generation_config.json").unlink()  # which counts before config.json
    assert end_of_text() == 7
    edit(folder / "config.json", eos_token_id=[8])
    assert end_of_text() == 8
    edit(folder / "config.json", eos_token_id=50256)  # that of GPT-2, in a model with fewer tokens
    assert end_of_text() == 300
    for eos in ([7, 8], "7", -1, {}):
        edit(folder / "config.json", eos_token_id=eos)
        with pytest.raises(CheckpointError, match=r"eos_token_id .* is not supported, only one id"):
            end_of_text()


# Weights.


def rewrite(folder, change):
    """Change the tensors of a model, by safetensors' own package."""
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = safetensors.load_file(folder / "model.safetensors")
    changed = change(tensors)
    safetensors.save_file(changed, folder / "model.safetensors")


def logits_of(folder):
    _, hparams, params = load_encoder_hparams_and_params(str(folder))
    return gpt2.gpt2([1, 2, 3], **params, n_head=hparams["n_head"]), params


def test_names_without_a_prefix_and_old_buffers(hub_copy):
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    masks = {f"h.{layer}.attn.bias": np.tri(32, dtype=np.uint8)[None, None] for layer in range(3)}
    masks |= {f"h.{layer}.attn.masked_bias": np.array(-1e4, np.float16) for layer in range(3)}
    rewrite(folder, lambda tensors: {n.removeprefix("transformer."): t for n, t in tensors.items()} | masks)
    np.testing.assert_array_equal(logits_of(folder)[0], expected)


def test_a_head_that_is_wte_needs_no_room(hub_copy):
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    logits, params = logits_of(folder)
    assert "lm_head" not in params
    np.testing.assert_array_equal(logits, expected)


def test_a_head_that_is_not_wte_counts_whatever_config_json_says(hub_copy):
    """As in transformers 5, which says so."""
    folder = hub_copy("float32")
    expected, _ = logits_of(folder)
    rewrite(folder, lambda tensors: tensors | {"lm_head.weight": 2 * tensors["transformer.wte.weight"]})
    np.testing.assert_allclose(logits_of(folder)[0], 2 * expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "tensor", "fault"),
    [
        ("score.weight", np.zeros((2, 16), np.float32), "score.weight is not in a model of 3 layers"),
        ("lm_head.weight", np.zeros((7, 16), np.float32), "lm_head.weight is float32 [7, 16], wte is not"),
        ("transformer.ln_f.bias", np.zeros(16, np.int64), "transformer.ln_f.bias is int64 [16], not float32"),
    ],
)
def test_tensors_that_do_not_belong_are_named(hub_copy, name, tensor, fault):
    folder = hub_copy("float32")
    rewrite(folder, lambda tensors: tensors | {name: tensor})
    with pytest.raises(CheckpointError, match=re.escape(fault)):
        load_encoder_hparams_and_params(str(folder))


@pytest.mark.parametrize(
    "shard", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", "", 1, ".safetensors"]
)
def test_a_shard_is_in_the_folder(hub_copy, shard):
    folder = hub_copy("sharded")
    path = folder / "model.safetensors.index.json"
    edit(path, weight_map={**read_json(path)["weight_map"], "transformer.wte.weight": shard})
    with pytest.raises(CheckpointError, match="is not the name of a safetensors file"):
        find_model_dir(str(folder))


def test_a_list_of_shards_that_does_not_agree_with_them(hub_copy):
    folder = hub_copy("sharded")
    path = folder / "model.safetensors.index.json"
    shard_of = read_json(path)["weight_map"]
    other = shard_of["lm_head.weight"]
    assert other != shard_of["transformer.ln_f.bias"]
    edit(path, weight_map={**shard_of, "transformer.ln_f.bias": other})
    with pytest.raises(CheckpointError, match=r"it does not say that tensor transformer\.ln_f\.bias is in"):
        load_encoder_hparams_and_params(str(folder))
    edit(path, weight_map={**shard_of, "x": other})
    with pytest.raises(CheckpointError, match=f"tensor x is not in {other}"):
        load_encoder_hparams_and_params(str(folder))


# Tokenizers.


def test_all_ways_to_store_a_tokenizer_are_one(tmp_path):
    demo = get_encoder("demo", ROOT / "models")
    shutil.copy(ROOT / "models" / "demo" / "encoder.json", tmp_path / "vocab.json")
    shutil.copy(ROOT / "models" / "demo" / "vocab.bpe", tmp_path / "merges.txt")
    tokenizers = pytest.importorskip("tokenizers")
    saved = tokenizers.ByteLevelBPETokenizer.from_file(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
    )
    renamed = get_encoder(tmp_path.name, tmp_path.parent)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "merges.txt").unlink()
    saved.save(str(tmp_path / "tokenizer.json"))
    for other in (renamed, get_encoder(tmp_path.name, tmp_path.parent)):
        assert (other.encoder, other.bpe_ranks) == (demo.encoder, demo.bpe_ranks)


@pytest.mark.parametrize("other", ["vocab.json", "merges.txt", "encoder.json", "vocab.bpe"])
def test_half_a_tokenizer_does_not_count_beside_a_whole_one(hub_copy, other):
    for model, files in (("float16", {"tokenizer.json"}), ("float32", {"vocab.json", "merges.txt"})):
        folder = hub_copy(model)
        if other not in files:
            (folder / other).write_text("{}")
        assert len(load_encoder_hparams_and_params(str(folder))[0].encoder) == 301


@pytest.mark.parametrize("setting", ["add_prefix_space", "add_bos_token"])
def test_settings_of_a_tokenizer_are_not_ignored(hub_copy, setting):
    folder = hub_copy("float32")
    (folder / "tokenizer_config.json").write_text(json.dumps({setting: True}))
    with pytest.raises(CheckpointError, match=rf"tokenizer_config\.json: {setting} True is not supported"):
        load_encoder_hparams_and_params(str(folder))


def test_a_vocabulary_is_not_padded_without_end(hub_copy):
    folder = hub_copy("float32")
    n_vocab = 301 + 10_001
    rewrite(folder, lambda tensors: tensors | {"transformer.wte.weight": np.zeros((n_vocab, 16), np.float32)})
    edit(folder / "config.json", vocab_size=n_vocab)
    with pytest.raises(CheckpointError, match="the tokenizer has 301 tokens, vocab_size is 10302"):
        load_encoder_hparams_and_params(str(folder))


def test_added_tokens_have_a_text_and_padding_has_none(hub_copy):
    folder = hub_copy("float32")
    (folder / "added_tokens.json").write_text(json.dumps({"<user name>": 301, "¤": 302}))

    def add_rows(tensors):
        wte = tensors["transformer.wte.weight"]  # [301, 16]
        return tensors | {"transformer.wte.weight": np.concatenate([wte, wte[:3]])}

    rewrite(folder, add_rows)
    edit(folder / "config.json", vocab_size=304)
    encoder, _, _ = load_encoder_hparams_and_params(str(folder))
    assert encoder.decode([301, 302, 303, 0]) == "<user name>¤!"


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        (["model"], None, "it is not an object of tokens and their ids"),
        (["model", "type"], "Unigram", "its model is not GPT-2's: only type 'BPE' is supported"),
        (["model", "vocab"], [], "it is not an object of tokens and their ids"),
        (["model", "vocab", "!"], -1, "it is not an object of tokens and their ids"),
        (["model", "merges"], None, "its merges or added_tokens are not what they should be"),
        (["model", "merges", 0], "one", "its merges or added_tokens are not what they should be"),
        (["model", "merges", 0], ["a", 1], "its merges or added_tokens are not what they should be"),
        (["model", "merges", 0], ["a", ""], "its merges or added_tokens are not what they should be"),
        (["post_processor"], {"type": "RobertaProcessing"}, "its post_processor is not GPT-2's"),
        (["model", "ignore_merges"], True, "only ignore_merges False is supported"),
        (["model", "dropout"], 0.1, "only dropout None is supported"),
        (["model", "continuing_subword_prefix"], "##", "only continuing_subword_prefix '' is supported"),
        (["post_processor", "special_tokens"], {"<s>": {}}, "only special_tokens {} is supported"),
        (["pre_tokenizer"], {"type": "Whitespace"}, "its pre_tokenizer is not GPT-2's"),
        (["pre_tokenizer", "use_regex"], False, "its pre_tokenizer is not GPT-2's"),
        (["pre_tokenizer", "add_prefix_space"], True, "only add_prefix_space False is supported"),
        (["normalizer"], {"type": "Lowercase"}, "its normalizer is not GPT-2's: only type None is"),
        (["added_tokens"], [{"id": 1}], "its merges or added_tokens are not what they should be"),
        (
            ["added_tokens"],
            [{"id": 301, "content": "x y"}],
            "the tokenizer has id 301, vocab_size is 301",
        ),
        (
            ["added_tokens"],
            [{"id": 3, "content": "x y"}],
            "two of the tokenizer's tokens have the same id",
        ),
        (["added_tokens"], [{"id": 3, "content": "\ud800"}], "its merges or added_tokens are not what"),
    ],
)
def test_a_tokenizer_that_is_not_of_this_kind_is_refused(hub_copy, place, value, fault):
    folder = hub_copy("float16")
    tokenizer = read_json(folder / "tokenizer.json")
    tree = tokenizer
    for name in place[:-1]:
        tree = tree[name]
    tree[place[-1]] = value
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(CheckpointError, match=re.escape(fault)):
        load_encoder_hparams_and_params(str(folder))
