"""mingpt.py: its logits, loss and text equal those of PyTorch models, in every layout of their files."""

import json

import mingpt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.hub_folder import byte_encoder
from support.torch_models import LAYOUTS, MODEL_ARGS, random_model, save

import gpt2
from loading.activation_functions import exact_gelu
from loading.untrusted_files import CheckpointError

torch.set_num_threads(1)

WITHOUT_LM_HEAD = ("nanoGPT", "nanoGPT without biases")


def greedy_ids(model, ids, n_ids):
    """Continue ids to n_ids in total with the PyTorch model."""
    ids = torch.tensor([ids])
    with torch.no_grad():
        while ids.shape[1] < n_ids:
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    return ids[0].tolist()


@pytest.fixture(params=LAYOUTS)
def model_and_params(request, tmp_path):
    """A PyTorch model in each layout, and the params that `load` reads from its file."""
    model = random_model(request.param)
    params, n_head = mingpt.load(save(model, tmp_path / "model.pt", request.param))
    assert n_head == (3 if "nanoGPT" in request.param else None)
    return model, params


# The model.


def test_logits_equal_pytorch(model_and_params):
    model, params = model_and_params
    ids = torch.randint(27, (2, 16))
    with torch.no_grad():
        expected = model(ids)
    logits = gpt2.gpt2(ids.numpy(), **params, n_head=3)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-4)
    assert expected.std() > 0.5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_npz_and_pt_give_the_same_params(layout, tmp_path):
    model = random_model(layout)
    params, n_head = mingpt.load(save(model, tmp_path / "model.npz", layout), gelu="exact")
    assert n_head is None
    expected, _ = mingpt.load(save(model, tmp_path / "model.pt", layout), gelu="exact")
    assert ("lm_head" in params) == (layout not in WITHOUT_LM_HEAD)
    assert_same_tree(params, expected)


def assert_same_tree(tree, other):
    """Assert that two trees of params have equal float32 arrays and the same activations."""
    assert type(tree) is type(other)
    if isinstance(tree, np.ndarray):
        assert tree.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(tree, other)
    elif isinstance(tree, (dict, list)):
        assert len(tree) == len(other)
        for name in range(len(tree)) if isinstance(tree, list) else tree:
            assert_same_tree(tree[name], other[name])
    else:
        assert tree is other


@pytest.mark.parametrize("layout", ["minGPT", "nanoGPT without biases"])
def test_half_precision_and_flash_attention_masks_are_read(layout, tmp_path):
    model = random_model(layout)
    tensors = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    for n in range(2):
        tensors[f"transformer.h.{n}.attn.bias"] = torch.ones(1, 1, 16, 16)
        tensors[f"transformer.h.{n}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(tensors, tmp_path / "model.pt")
    params, _ = mingpt.load(tmp_path / "model.pt", gelu="exact")
    expected = model.transformer.h[1].mlp.c_fc.weight.bfloat16().float().T
    np.testing.assert_array_equal(params["blocks"][1]["mlp"]["c_fc"]["w"], expected.detach().numpy())


# The activation.


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gelu", [None, "exact", "tanh"])
def test_gelu_depends_on_the_layout_or_the_flag(layout, gelu, tmp_path):
    tanh_gelu = gpt2.gelu
    params, _ = mingpt.load(save(random_model(layout), tmp_path / "model.pt", layout), gelu)
    is_exact = layout != "minGPT" if gelu is None else gelu == "exact"
    expected = exact_gelu if is_exact else tanh_gelu
    assert [block["mlp"]["act"] for block in params["blocks"]] == [expected, expected]
    assert gpt2.gelu is tanh_gelu


@pytest.mark.parametrize(("activation", "is_exact"), [("gelu", True), ("gelu_new", False)])
def test_a_fork_can_name_its_gelu(activation, is_exact, tmp_path):
    tensors = random_model("minGPT").state_dict()
    model_args = {"n_head": 3, "activation_function": activation}
    torch.save({"model": tensors, "model_args": model_args}, tmp_path / "ckpt.pt")
    params, _ = mingpt.load(tmp_path / "ckpt.pt")
    assert (params["blocks"][0]["mlp"]["act"] is exact_gelu) == is_exact


def old_nanogpt():
    """nanoGPT before June 2023: it has the tanh form, and its file has masks."""
    tensors = random_model("nanoGPT").state_dict()
    return {
        "model": tensors | {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16)},
        "model_args": MODEL_ARGS,
    }


def without_masks():
    tensors = random_model("minGPT").state_dict()
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(".attn.bias")}


@pytest.mark.parametrize("make", [old_nanogpt, without_masks, lambda: random_model("nanoGPT").state_dict()])
def test_a_file_that_does_not_tell_its_gelu_is_a_question(make, tmp_path):
    torch.save(make(), tmp_path / "ckpt.pt")
    with pytest.raises(ValueError, match="pass --gelu=exact or --gelu=tanh"):
        mingpt.load(tmp_path / "ckpt.pt")
    mingpt.load(tmp_path / "ckpt.pt", gelu="tanh")


def test_another_activation_function_is_refused_by_name(tmp_path):
    content = {"model": random_model("nanoGPT").state_dict(), "model_args": {"activation": "relu"}}
    torch.save(content, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="activation 'relu' is not supported, only GELU"):
        mingpt.load(tmp_path / "ckpt.pt")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model.", "module.transformer."])
@pytest.mark.parametrize("other", ["lm_head.weight", "transformer.wte.weight"])
def test_prefixes_and_one_of_two_tied_tensors_change_nothing(prefix, other, tmp_path):
    tensors = random_model("nanoGPT").state_dict()
    torch.save(tensors, tmp_path / "a.pt")
    del tensors[other]
    tensors = {prefix + name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    torch.save({"net": tensors, "losses": [0.5] * 9}, tmp_path / "b.pt")
    params, _ = mingpt.load(tmp_path / "b.pt", gelu="exact")
    assert_same_tree(params, mingpt.load(tmp_path / "a.pt", gelu="exact")[0])


@pytest.mark.parametrize("gelu", ["exact", "tanh"])
def test_gelu_flag_changes_the_activation(gelu, tmp_path, monkeypatch, capsys):
    path = save(random_model("minGPT"), tmp_path / "model.pt", "minGPT")
    calls = []
    monkeypatch.setitem(mingpt.ACTIVATIONS, gelu, lambda x: calls.append(gelu) or gpt2.gelu(x))
    mingpt.main(str(path), gelu=gelu, n_head=3, n_tokens_to_generate=1)
    assert calls == [gelu] * 2  # one call per layer
    assert capsys.readouterr().out.startswith("0 ")


# The loss.


@pytest.mark.parametrize("n_batch", [None, 3])
def test_loss_equals_cross_entropy_without_ignored_targets(model_and_params, n_batch):
    model, params = model_and_params
    ids, targets = torch.randint(27, (2, n_batch or 1, 16))
    targets[:, ::3] = -1
    with torch.no_grad():
        expected = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-1).item()
    if n_batch is None:
        ids, targets = ids[0], targets[0]
    assert mingpt.loss(ids.tolist(), targets.tolist(), params, 3) == pytest.approx(expected, abs=1e-5)


# The generated text.


def test_greedy_generation_equals_pytorch(model_and_params):
    model, params = model_and_params
    expected = greedy_ids(model, [3, 1], 17)
    assert list(gpt2.generate([3, 1], params, 3, 15)) == expected[2:]
    assert len(set(expected)) > 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_command_prints_the_text_of_the_model(layout, run_experiment, tmp_path):
    text = "".join(chr(ord("a") + n) for n in range(26)) + "\n"
    (tmp_path / "input.txt").write_text(text * 2, encoding="utf-8")
    model = random_model(layout)
    save(model, tmp_path / "model.pt", layout)
    save(model, tmp_path / "model.npz", layout)
    ids = greedy_ids(model, [3, 1], 12)
    numbers, chars = " ".join(map(str, ids)), "".join(("\n" + text)[token_id] for token_id in ids)

    greedy = ["--temperature=0", "--n_tokens_to_generate=10"]
    flags = [] if "nanoGPT" in layout else ["--n_head=3"]
    result = run_experiment("mingpt.py", "model.pt", "--prompt=3 1", *greedy, *flags)
    assert result == (0, numbers + "\n", "")
    flags = ["--n_head=3", "--gelu=tanh" if layout == "minGPT" else "--gelu=exact"]
    result = run_experiment("mingpt.py", "model.npz", "--prompt=ca", "--text=input.txt", *greedy, *flags)
    assert result == (0, chars + "\n", "")


def test_words_and_bpe_are_tokens_too(run_experiment, tmp_path):
    words = [f"w{n:02d}" for n in range(27)]
    (tmp_path / "input.txt").write_text(" ".join(words), encoding="utf-8")
    model = random_model("nanoGPT")
    save(model, tmp_path / "ckpt.pt", "nanoGPT")
    greedy = ["--temperature=0", "--n_tokens_to_generate=10"]
    result = run_experiment("mingpt.py", "ckpt.pt", "--words=input.txt", "--prompt=w03 w01", *greedy)
    ids = greedy_ids(model, [3, 1], 12)
    assert result == (0, " ".join(words[token_id] for token_id in ids) + "\n", "")

    encoder = byte_encoder()
    (tmp_path / "bpe").mkdir()
    (tmp_path / "bpe" / "encoder.json").write_text(json.dumps(encoder.encoder), encoding="utf-8")
    (tmp_path / "bpe" / "vocab.bpe").write_text("#version: 0.2\n", encoding="utf-8")
    model = LAYOUTS["nanoGPT"](n_vocab=264, n_ctx=16, n_embd=24, n_head=3, n_layer=2)  # nanoGPT pads n_vocab
    save(model, tmp_path / "ckpt.pt", "nanoGPT")
    result = run_experiment("mingpt.py", "ckpt.pt", "--encoder=bpe", "--prompt=ab", *greedy)
    encoder.decoder = dict.fromkeys(range(264), "") | encoder.decoder
    assert result == (0, encoder.decode(greedy_ids(model, encoder.encode("ab"), 12)) + "\n", "")


def test_seed_makes_sampling_repeatable_and_top_k_limits_it(run_experiment, tmp_path):
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")

    def continuation(*flags):
        status, out, err = run_experiment("mingpt.py", "model.npz", "--n_head=3", "-n", "12", *flags)
        assert (status, err) == (0, "")
        return out

    assert continuation("--seed=1") == continuation("--seed=1") != continuation("--seed=2")
    greedy = continuation("--temperature=0")
    assert continuation("--top_k=1", "--temperature=5") == greedy
    assert len(greedy.split()) == 13
    assert greedy.startswith("0 ")
