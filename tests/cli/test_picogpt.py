"""picoGPT's commands and calls run unchanged: those of its README and of "GPT in 60 Lines of NumPy" (2023).

Its models folder holds the demo model under the name 124M.
"""

import shlex
import shutil

import numpy as np
import pytest
from support.command_line import assert_error, is_one_line
from support.paths import DATA, ROOT, files_in

from encoder import get_encoder
from gpt2 import attention, ffn, gelu, generate, gpt2, layer_norm, linear, mha, softmax, transformer_block
from loading.model_folder import OPENAI_FILES
from utils import DEMO_DIR, load_encoder_hparams_and_params

PROMPT = "Alan Turing theorized that computers would one day become"
COMMANDS = {  # command: number of new tokens
    'python gpt2.py "Alan Turing theorized that computers would one day become"': 40,
    r"""python gpt2.py \
    "Alan Turing theorized that computers would one day become" \
    --n_tokens_to_generate 40 \
    --model_size "124M" \
    --models_dir "models"
""": 40,
    r"""python gpt2.py \
    "Alan Turing theorized that computers would one day become" \
    --n_tokens_to_generate 8
""": 8,
    'python gpt2.py "Alan Turing theorized that computers would one day become" --n_tokens_to_generate 8 '
    '--model_size "124M" --models_dir "models"': 8,
}
commands = pytest.mark.parametrize(("command", "n_tokens"), COMMANDS.items())


@pytest.fixture
def checkout(tmp_path):
    """A copy of the program, without models: the default models_dir is a folder of the checkout."""
    for path in [*ROOT.glob("*.py"), *(ROOT / name for name in ("cli", "download", "generation", "loading"))]:
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def models_folder(checkout):
    """The folder models in the checkout, with the demo model as 124M."""
    shutil.copytree(DEMO_DIR, checkout / "models" / "124M")
    return checkout / "models"


@pytest.fixture
def run_command(run, checkout):
    """run_command(command, **changes): `run` a line for a shell, in the checkout."""

    def run_command(command, **changes):
        python, script, *arguments = shlex.split(command.replace("\\\n", " "))
        assert python == "python"
        return run(*arguments, script=checkout / script, **changes)

    return run_command


@pytest.fixture
def loaded(models_folder, monkeypatch):
    """encoder, hparams and params, loaded by the call of the article in the folder of gpt2.py."""
    monkeypatch.chdir(models_folder.parent)
    return load_encoder_hparams_and_params("124M", "models")


def greedy_ids(ids, params, n_head, n_tokens):
    """picoGPT's loop: the whole text in each step, and the most probable id."""
    ids = list(ids)
    for _ in range(n_tokens):
        ids.append(int(np.argmax(gpt2(ids, **params, n_head=n_head)[-1])))
    return ids[-n_tokens:]


def greedy_text(loaded, prompt, n_tokens):
    encoder, hparams, params = loaded
    return encoder.decode(greedy_ids(encoder.encode(prompt), params, hparams["n_head"], n_tokens))


# Commands.


@commands
@pytest.mark.parametrize("script", ["gpt2.py", "gpt2_pico.py"])
def test_commands_print_the_continuation(run_command, loaded, command, n_tokens, script):
    status, stdout, stderr = run_command(command.replace("gpt2.py", script))
    assert (status, stdout) == (0, greedy_text(loaded, PROMPT, n_tokens) + "\n")
    assert is_one_line(stderr) == (script == "gpt2.py")  # the statistics


@commands
def test_the_first_command_downloads_the_model(run_command, checkout, server, demo, command, n_tokens):
    network = {"GPT2_MIRROR": server.url, "NO_PROXY": "127.0.0.1"}
    status, stdout, _ = run_command(command, **network)
    assert (status, stdout) == (0, greedy_text(demo, PROMPT, n_tokens) + "\n")
    assert set(OPENAI_FILES) <= set(files_in(checkout / "models" / "124M"))
    assert run_command(command)[:2] == (0, stdout)  # without the network


def test_an_empty_prompt_needs_a_flag(run_command, loaded):
    """The article edits picoGPT so that an empty prompt becomes <|endoftext|>. Here it needs a flag."""
    encoder, hparams, params = loaded
    ids = greedy_ids([encoder.encoder["<|endoftext|>"]], params, hparams["n_head"], 40)
    assert encoder.stop_ids[0] not in ids
    assert run_command('python gpt2.py "" --unconditional')[:2] == (0, encoder.decode(ids) + "\n")
    assert_error(run_command('python gpt2.py ""'), 2, "the prompt is empty", "--unconditional")


# Calls.


def test_encoder_gives_the_published_ids():
    """OpenAI's vocabulary, which is that of 124M."""
    encoder = get_encoder("gpt2", str(DATA))
    ids = encoder.encode("Not all heroes wear capes.")
    assert ids == [3673, 477, 10281, 5806, 1451, 274, 13]
    assert encoder.decode(ids) == "Not all heroes wear capes."
    assert [encoder.decoder[i] for i in ids] == ["Not", "Ġall", "Ġheroes", "Ġwear", "Ġcap", "es", "."]
    assert [encoder.decoder[i] for i in encoder.encode("zjqfl")] == ["z", "j", "q", "fl"]
    assert len(encoder.decoder) == 50257


def shape_tree(tree):
    """The shapes of all arrays, in the same nesting. Anything but an array, a list or a dict is an error."""
    if isinstance(tree, dict):
        return {name: shape_tree(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [shape_tree(value) for value in tree]
    assert isinstance(tree, np.ndarray)
    return list(tree.shape)


def test_params_have_the_shapes_of_the_article(loaded):
    _, hparams, params = loaded
    assert set(hparams) == {"n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"}
    n_embd = hparams["n_embd"]

    def linear_shapes(n_in, n_out):
        return {"b": [n_out], "w": [n_in, n_out]}

    norm = {"b": [n_embd], "g": [n_embd]}
    attn = {"c_attn": linear_shapes(n_embd, 3 * n_embd), "c_proj": linear_shapes(n_embd, n_embd)}
    mlp = {"c_fc": linear_shapes(n_embd, 4 * n_embd), "c_proj": linear_shapes(4 * n_embd, n_embd)}
    block = {"attn": attn, "ln_1": norm, "ln_2": norm, "mlp": mlp}
    assert shape_tree(params) == {
        "wpe": [hparams["n_ctx"], n_embd],
        "wte": [hparams["n_vocab"], n_embd],
        "ln_f": norm,
        "blocks": [block] * hparams["n_layer"],
    }


def test_decode_takes_what_generate_returns(loaded):
    """The calls of picoGPT's main. Its generate returns a list; ours yields the ids one by one."""
    encoder, hparams, params = loaded
    input_ids = encoder.encode(PROMPT)
    output_ids = generate(input_ids, params, hparams["n_head"], 8)
    assert encoder.decode(output_ids) == greedy_text(loaded, PROMPT, 8)
    output_ids = list(generate(input_ids, params, hparams["n_head"], n_tokens_to_generate=8))
    assert output_ids == greedy_ids(input_ids, params, hparams["n_head"], 8)
    assert input_ids == encoder.encode(PROMPT)  # the caller's list does not grow


def test_gpt2_is_the_composition_of_its_parts(loaded):
    """The article's forward pass, with the article's calls of each part."""
    encoder, hparams, params = loaded
    inputs, n_head = encoder.encode(PROMPT), hparams["n_head"]
    x = params["wte"][inputs] + params["wpe"][range(len(inputs))]
    for block in params["blocks"]:
        whole = transformer_block(x, **block, n_head=n_head)
        x = x + mha(layer_norm(x, **block["ln_1"]), **block["attn"], n_head=n_head)
        x = x + ffn(layer_norm(x, **block["ln_2"]), **block["mlp"])
        np.testing.assert_allclose(x, whole, rtol=0, atol=1e-5)
    logits = layer_norm(x, **params["ln_f"]) @ params["wte"].T
    assert logits.shape == (len(inputs), hparams["n_vocab"])
    np.testing.assert_allclose(gpt2(inputs, **params, n_head=n_head), logits, rtol=0, atol=1e-4)


def test_mha_is_attention_over_each_head(loaded):
    """The article splits q, k and v into heads and calls attention for each, with its causal mask."""
    encoder, hparams, params = loaded
    attn, n_head = params["blocks"][0]["attn"], hparams["n_head"]
    x = params["wte"][encoder.encode(PROMPT)]
    q, k, v = np.split(linear(x, **attn["c_attn"]), 3, axis=-1)
    heads = zip(*(np.split(part, n_head, axis=-1) for part in (q, k, v)), strict=True)
    mask = (1 - np.tri(len(x), dtype=x.dtype)) * -1e10
    merged = np.hstack([attention(*head, mask) for head in heads])
    np.testing.assert_allclose(mha(x, **attn, n_head=n_head), linear(merged, **attn["c_proj"]), atol=1e-5)


def test_layers_give_the_published_numbers():
    """softmax follows its formula. The numbers below it in the article do not."""
    x = np.array([[1, 2], [-2, 0.5]])
    np.testing.assert_allclose(gelu(x), [[0.84119, 1.9546], [-0.0454, 0.34571]], rtol=0, atol=5e-6)
    x = np.array([[2, 2, 3], [-5, 0, 1]])
    x = layer_norm(x, g=np.ones(x.shape[-1]), b=np.zeros(x.shape[-1]))
    expected = [[-0.70709, -0.70709, 1.41418], [-1.397, 0.508, 0.889]]
    np.testing.assert_allclose(x, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(x.var(axis=-1), [0.99996, 1.0], rtol=0, atol=1e-5)
    probs = softmax(np.array([[2, 100], [-5, 0]]))
    np.testing.assert_allclose(probs, [[np.exp(-98), 1], [1 / (1 + np.exp(5)), 1 / (1 + np.exp(-5))]])
    x, w, b = np.ones((64, 784)), np.full((784, 10), 0.5), np.arange(10.0)
    np.testing.assert_array_equal(linear(x, w, b), np.tile(392 + b, (64, 1)))
