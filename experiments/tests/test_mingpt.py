"""mingpt.py against the models in torch_models.py, in all layouts of their files."""

import os

import mingpt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch_models import Of2020, Since2022

import gpt2
from files import CheckpointError

torch.set_num_threads(1)

SIZES = {"n_vocab": 27, "n_ctx": 16, "n_embd": 24, "n_head": 3, "n_layer": 2}
MODELS = {
    "minGPT": Since2022,
    "minGPT of 2020": Of2020,
    "nanoGPT": lambda **sizes: Since2022(**sizes, is_tied=True, gelu="none"),
    "nanoGPT without biases": lambda **sizes: Since2022(**sizes, is_tied=True, gelu="none", bias=False),
}
MODEL_ARGS = {"n_layer": 2, "n_head": 3, "n_embd": 24, "block_size": 16, "vocab_size": 27, "dropout": 0.0}


def random_model(layout, seed=0):
    """A model whose biases and gains are random, too."""
    torch.manual_seed(seed)
    model = MODELS[layout](**SIZES)
    for name, parameter in model.named_parameters():
        is_gain = "ln" in name and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=float(is_gain), std=0.4)
    return model.eval()


def save(model, path, layout):
    """Write the model as its own project does; nanoGPT's compiled, with what else is in its files."""
    tensors = model.state_dict()
    if path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif layout.startswith("nanoGPT"):
        tensors = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
        optimizer = {
            "state": {0: {"step": torch.tensor(7.0)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95)}],
        }
        torch.save({"model": tensors, "model_args": MODEL_ARGS, "optimizer": optimizer, "iter_num": 7}, path)
    else:
        torch.save(tensors, path)
    return path


@pytest.fixture(params=MODELS)
def model_and_params(request, tmp_path, monkeypatch):
    """A model in each layout, and what `load` makes of its file, with gpt2.py set to its GELU."""
    model = random_model(request.param)
    params, n_head, is_exact = mingpt.load(save(model, tmp_path / "model.pt", request.param))
    assert n_head == (3 if "nanoGPT" in request.param else None)
    assert is_exact == (request.param != "minGPT")
    if is_exact:
        monkeypatch.setattr(gpt2, "gelu", mingpt.exact_gelu)
    return model, params


# The model.


def test_the_logits_are_those_of_the_model(model_and_params):
    model, params = model_and_params
    ids = torch.randint(27, (2, 16))
    with torch.no_grad():
        expected = model(ids)
    logits = gpt2.gpt2(ids.numpy(), **params, n_head=3)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-4)
    assert expected.std() > 0.5


@pytest.mark.parametrize("layout", MODELS)
def test_an_npz_has_the_same_model(layout, tmp_path):
    model = random_model(layout)
    params, n_head, is_exact = mingpt.load(save(model, tmp_path / "model.npz", layout))
    assert (n_head, is_exact) == (None, layout != "minGPT")
    expected, _, _ = mingpt.load(save(model, tmp_path / "model.pt", layout))
    assert ("lm_head" in params) == ("minGPT" in layout)
    assert_equal(params, expected)


def assert_equal(tree, other):
    assert type(tree) is type(other)
    if isinstance(tree, np.ndarray):
        assert tree.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(tree, other)
        return
    assert len(tree) == len(other)
    for name in range(len(tree)) if isinstance(tree, list) else tree:
        assert_equal(tree[name], other[name])


@pytest.mark.parametrize("layout", ["minGPT", "nanoGPT without biases"])
def test_half_precision_and_masks_of_flash_attention_are_read(layout, tmp_path):
    model = random_model(layout)
    tensors = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    for n in range(2):
        tensors[f"transformer.h.{n}.attn.bias"] = torch.ones(1, 1, 16, 16)
        tensors[f"transformer.h.{n}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(tensors, tmp_path / "model.pt")
    params, _, _ = mingpt.load(tmp_path / "model.pt")
    expected = model.transformer.h[1].mlp.c_fc.weight.bfloat16().float().T
    np.testing.assert_array_equal(params["blocks"][1]["mlp"]["c_fc"]["w"], expected.detach().numpy())


def test_the_exact_gelu_is_that_of_torch():
    x = np.linspace(-12, 12, 10_001, dtype=np.float32).reshape(73, 137)
    gelu = mingpt.exact_gelu(x)
    assert (gelu.dtype, gelu.shape) == (np.float32, x.shape)
    exact = F.gelu(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(gelu, exact, rtol=2e-6, atol=1e-7)
    assert np.max(np.abs(gpt2.gelu(x) - exact)) > 1e-4


# The loss.


@pytest.mark.parametrize("n_batch", [None, 3])
def test_the_loss_is_the_cross_entropy_without_the_targets_that_are_ignored(model_and_params, n_batch):
    model, params = model_and_params
    ids, targets = torch.randint(27, (2, n_batch or 1, 16))
    targets[:, ::3] = -1
    with torch.no_grad():
        expected = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=-1).item()
    if n_batch is None:
        ids, targets = ids[0], targets[0]
    assert mingpt.loss(ids.tolist(), targets.tolist(), params, 3) == pytest.approx(expected, abs=1e-5)


# The text that it writes.


def test_greedy_generation_takes_the_likeliest_each_time(model_and_params):
    model, params = model_and_params
    ids = torch.tensor([[3, 1]])
    with torch.no_grad():
        while ids.shape[1] < 17:
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    assert list(gpt2.generate([3, 1], params, 3, 15)) == ids[0, 2:].tolist()
    assert len(set(ids[0].tolist())) > 1


@pytest.mark.parametrize("layout", MODELS)
def test_the_command_line_writes_what_the_model_would(layout, run, tmp_path):
    text = "".join(chr(ord("a") + n) for n in range(26)) + "\n"
    (tmp_path / "input.txt").write_text(text * 2, encoding="utf-8")
    model = random_model(layout)
    save(model, tmp_path / "model.pt", layout)
    save(model, tmp_path / "model.npz", layout)
    ids = torch.tensor([[3, 1]])
    with torch.no_grad():
        while ids.shape[1] < 12:
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    ids = ids[0].tolist()
    numbers, chars = " ".join(map(str, ids)), "".join(("\n" + text)[id] for id in ids)

    flags = [] if "nanoGPT" in layout else ["--n_head=3"]
    greedy = ["--temperature=0", "--n_tokens_to_generate=10"]
    assert run("mingpt.py", "model.pt", "--prompt=3 1", *greedy, *flags) == (0, numbers + "\n", "")
    flags = ["--n_head=3", "--gelu=tanh" if layout == "minGPT" else "--gelu=exact"]
    assert run("mingpt.py", "model.npz", "--prompt=ca", "--text=input.txt", *greedy, *flags) == (
        0,
        chars + "\n",
        "",
    )


@pytest.mark.parametrize("layout", MODELS)
@pytest.mark.parametrize("gelu", [None, "exact", "tanh"])
def test_the_gelu_is_that_of_the_layout_or_of_the_flag(layout, gelu, tmp_path, monkeypatch, capsys):
    tanh_gelu = gpt2.gelu
    monkeypatch.setattr(gpt2, "gelu", tanh_gelu)  # which main may change
    path = save(random_model(layout), tmp_path / "model.pt", layout)
    mingpt.main(str(path), gelu=gelu, n_head=3, n_tokens_to_generate=1)
    is_exact = layout != "minGPT" if gelu is None else gelu == "exact"
    assert gpt2.gelu is (mingpt.exact_gelu if is_exact else tanh_gelu)
    assert capsys.readouterr().out.startswith("0 ")


def test_chance_is_repeated_by_a_seed_and_limited_by_top_k(run, tmp_path):
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")

    def continuation(*flags):
        status, out, err = run("mingpt.py", "model.npz", "--n_head=3", "-n", "12", *flags)
        assert (status, err) == (0, "")
        return out

    assert continuation("--seed=1") == continuation("--seed=1") != continuation("--seed=2")
    greedy = continuation("--temperature=0")
    assert continuation("--top_k=1", "--temperature=5") == greedy
    assert len(greedy.split()) == 13
    assert greedy.startswith("0 ")


# Errors.


@pytest.mark.parametrize("layout", MODELS)
def test_every_tensor_must_be_there_in_its_shape(layout, tmp_path):
    tensors = {name: tensor.numpy() for name, tensor in random_model(layout).state_dict().items()}
    path = tmp_path / "model.npz"
    for name, tensor in tensors.items():
        if name.endswith("attn.mask"):
            continue
        np.savez(path, **{other: tensors[other] for other in tensors if other != name})
        with pytest.raises(CheckpointError, match=r"there is no|is not there") as error:
            mingpt.load(path)
        assert str(error.value).startswith(f"{path}: ")
        if not name.endswith("wpe.weight"):  # one position more would be fine
            np.savez(path, **{**tensors, name: np.concatenate([tensor, tensor[:1]])})
            with pytest.raises(CheckpointError) as error:
                mingpt.load(path)
            assert str(error.value).startswith(f"{path}: ")
        np.savez(path, **{**tensors, name: np.float32(1)})
        with pytest.raises(CheckpointError):
            mingpt.load(path)


@pytest.mark.parametrize(
    "name", ["transformer.h.0.ln_1.gain", "lm_head.bias", "head.bias", "rotary", "blocks.1.gate"]
)
def test_a_tensor_that_we_do_not_compute_with_is_an_error(name, tmp_path):
    tensors = random_model("minGPT").state_dict()
    torch.save({**tensors, name: torch.ones(2)}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"is not in a model of 2 layers"):
        mingpt.load(tmp_path / "model.pt")


def test_a_model_of_transformers_is_an_error(tmp_path):
    """Its weights are [n_in, n_out] already."""
    tensors = random_model("minGPT").state_dict()
    tensors = {name: x.T if ".c_" in name and x.ndim == 2 else x for name, x in tensors.items()}
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"h\.0\."):
        mingpt.load(tmp_path / "pytorch_model.bin")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_no_pickle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"wte": Trap()}, "model.pt")
    np.savez("model.npz", wte=np.array([Trap()], dtype=object))
    for path in ("model.pt", "model.npz"):
        with pytest.raises(CheckpointError, match=r"no state dict|not only, arrays"):
            mingpt.load(path)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_damaged_files_are_an_error(suffix, tmp_path):
    path = save(random_model("minGPT"), tmp_path / f"model{suffix}", "minGPT")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    lengths = [0, 1, 4, *rng.integers(5, len(content) - 1, 40)]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises((CheckpointError, OSError)):
            mingpt.load(path)
    for junk in (b"junk", b"\x80\x02}q\x00.", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(junk)
        with pytest.raises(CheckpointError):
            mingpt.load(path)


@pytest.mark.parametrize(
    "content", [[], torch.ones(2), {"model": 3}, {1: torch.ones(2)}, {"a": "b"}, {"model_args": 3}]
)
def test_what_is_no_state_dict_is_an_error(content, tmp_path):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError):
        mingpt.load(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"n_head": None}, "give --n_head="),
        ({"n_head": 0}, "divides n_embd, 24"),
        ({"n_head": 5}, "divides n_embd, 24"),
        ({"gelu": "relu"}, "exact or tanh"),
        ({"prompt": "27"}, "'27' is not one of the model's tokens, '0' to '26'"),
        ({"prompt": " "}, "one or more ids"),
        ({"prompt": "To be"}, "'To' is not one"),
        ({"prompt": "-1"}, "'-1' is not one"),
        ({"text": "3.txt"}, "3 different characters, the model 27 tokens"),
        ({"text": "latin.txt"}, "latin.txt: "),
        ({"text": "27.txt", "prompt": "A"}, "'A' is not one"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_bad_values_are_an_error_that_says_why(flags, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpt2, "gelu", gpt2.gelu)  # main may set it
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")
    (tmp_path / "3.txt").write_text("abc", encoding="utf-8")
    (tmp_path / "27.txt").write_text("abcdefghijklmnopqrstuvwxyz\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        mingpt.main("model.npz", **{"n_head": 3, **flags})


def test_bad_input_is_one_line(run, tmp_path):
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")
    (tmp_path / "text.pt").write_text("abc", encoding="utf-8")
    for arguments, status, message in [
        ([], 2, "the checkpoint is empty"),
        (["missing.npz"], 1, "missing.npz"),
        (["text.pt"], 1, "it is no state dict"),
        (["model.npz"], 2, "give --n_head="),
        (["model.npz", "--n_head=3", "--text=missing.txt"], 1, "missing.txt"),
    ]:
        code, out, err = run("mingpt.py", *arguments)
        assert (code, out, err.count("\n")) == (status, "", 1), (arguments, code, out, err)
        assert err.startswith("mingpt.py: ")
        assert message in err, err


def test_without_pytorch_it_says_so_and_reads_npz(run, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError", encoding="utf-8")
    save(random_model("minGPT"), tmp_path / "model.pt", "minGPT")
    save(random_model("minGPT"), tmp_path / "model.npz", "minGPT")
    status, out, err = run("mingpt.py", "model.pt", "--n_head=3", PYTHONPATH=str(tmp_path))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "pip install torch" in err
    status, out, err = run("mingpt.py", "model.npz", "--n_head=3", "-n", "3", PYTHONPATH=str(tmp_path))
    assert (status, len(out.split()), err) == (0, 4, "")
