"""mingpt.py: --score equals PyTorch's cross entropy. Exported folders give the same logits and tokens."""

import json

import mingpt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from helpers.hub_folder import byte_encoder, save_tokenizer
from support.paths import DATA, ROOT, files_in
from support.torch_models import LAYOUTS, SIZES, random_model, save

import gpt2
from loading.tokenizer_files import find_and_load_encoder
from utils import load_encoder_hparams_and_params

torch.set_num_threads(1)

N_CTX = SIZES["n_ctx"]
CHARS = "\nabcdefghijklmnopqrstuvwxyz"
GREEDY = ("--temperature=0", "--n_tokens_to_generate=12")


def random_text(n_chars):
    return "".join(np.random.default_rng(n_chars).choice([*CHARS], n_chars))


def mean_cross_entropy(model, ids):
    """The loss of all ids but the first. The windows do not overlap, except the last one, which is full."""
    nats = []
    for first in range(1, len(ids), N_CTX):
        end = min(first + N_CTX, len(ids))
        start = max(0, end - 1 - N_CTX)
        window = torch.tensor(ids[start:end])
        with torch.no_grad():
            losses = F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="none")
        nats += losses[first - start - 1 :].tolist()
    assert len(nats) == len(ids) - 1
    return float(np.mean(nats))


def printed_figures(output):
    """The output of --score -> {"tokens": number, "loss": number, "perplexity": number}."""
    return {name: float(number) for name, number in map(str.split, output.splitlines())}


# The loss.


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_chars", [2, 17, 33, 60])
def test_score_is_the_mean_cross_entropy_of_windows(layout, n_chars, tmp_path, capsys):
    """The texts have one target; one full window; two; and three and a part."""
    model, text = random_model(layout), random_text(n_chars)
    (tmp_path / "input.txt").write_text(CHARS, encoding="utf-8", newline="\n")
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="\n")
    flags = {"text": str(tmp_path / "input.txt"), "score": str(tmp_path / "text.txt"), "n_head": 3}
    mingpt.main(str(save(model, tmp_path / "model.pt", layout)), **flags)
    expected = mean_cross_entropy(model, [CHARS.index(char) for char in text])
    figures = printed_figures(capsys.readouterr().out)
    assert figures["tokens"] == n_chars - 1
    assert figures["loss"] == pytest.approx(expected, abs=1e-4)
    assert figures["perplexity"] == pytest.approx(np.exp(expected), rel=1e-4)


def test_score_reads_words_numbers_and_bpe(run_experiment, tmp_path):
    words = [f"w{n:02d}" for n in range(27)]
    ids = np.random.default_rng(0).integers(27, size=40).tolist()
    (tmp_path / "vocabulary.txt").write_text(" ".join(words), encoding="utf-8")
    (tmp_path / "words.txt").write_text("\n".join(words[token_id] for token_id in ids), encoding="utf-8")
    (tmp_path / "numbers.txt").write_text(" ".join(map(str, ids)), encoding="utf-8")
    model = random_model("nanoGPT")
    save(model, tmp_path / "ckpt.pt", "nanoGPT")
    result = run_experiment("mingpt.py", "ckpt.pt", "--score=numbers.txt")
    assert result == run_experiment("mingpt.py", "ckpt.pt", "--words=vocabulary.txt", "--score=words.txt")
    assert printed_figures(result[1])["loss"] == pytest.approx(mean_cross_entropy(model, ids), abs=1e-4)

    model, text = bpe_model(tmp_path), "naïve\n" * 5
    (tmp_path / "text.txt").write_text(f"{text}<|endoftext|>end", encoding="utf-8", newline="\n")
    ids = [*byte_encoder().encode(text), 256, *byte_encoder().encode("end")]
    status, out, err = run_experiment("mingpt.py", "ckpt.pt", "--encoder=bpe", "--score=text.txt")
    assert (status, err) == (0, "")
    assert printed_figures(out)["loss"] == pytest.approx(mean_cross_entropy(model, ids), abs=1e-4)


def bpe_model(folder):
    """Save a tokenizer of bytes in the folder bpe, and a nanoGPT with seven rows of padding as ckpt.pt."""
    (folder / "bpe").mkdir()
    save_tokenizer(folder / "bpe", byte_encoder())
    torch.manual_seed(0)
    model = LAYOUTS["nanoGPT"](**SIZES | {"n_vocab": 264})
    save(model.eval(), folder / "ckpt.pt", "nanoGPT")
    return model


def test_exported_model_scores_the_same_with_perplexity_py(run_experiment, tmp_path):
    (tmp_path / "input.txt").write_text(CHARS, encoding="utf-8", newline="\n")
    (tmp_path / "text.txt").write_text(random_text(50) + "a", encoding="utf-8", newline="\n")
    save(random_model("nanoGPT"), tmp_path / "ckpt.pt", "nanoGPT")
    run_experiment("mingpt.py", "ckpt.pt", "--text=input.txt", "--export=model")
    _, out, _ = run_experiment("mingpt.py", "ckpt.pt", "--text=input.txt", "--score=text.txt")
    arguments = ("text.txt", "--model_size=model", f"--stride={N_CTX}")
    _, expected, _ = run_experiment("perplexity.py", *arguments)
    assert f"nats per token {printed_figures(out)['loss']:10.4f}\n" in expected


# The exported folder.


def narrow_model():
    """A minGPT whose MLPs have 40 hidden units, not 4 * 24."""
    model = random_model("minGPT")
    for block in model.transformer.h:
        block.mlp.c_fc = torch.nn.Linear(24, 40)
        block.mlp.c_proj = torch.nn.Linear(40, 24)
    return model


@pytest.mark.parametrize("gelu", ["exact", "tanh"])
@pytest.mark.parametrize("layout", [*LAYOUTS, "narrow"])
def test_gpt2_and_transformers_compute_the_same_logits(layout, gelu, tmp_path):
    model = narrow_model() if layout == "narrow" else random_model(layout)
    checkpoint = save(model, tmp_path / "model.npz", layout)
    (tmp_path / "input.txt").write_text(CHARS, encoding="utf-8", newline="\n")
    folder, text = str(tmp_path / "model"), str(tmp_path / "input.txt")
    mingpt.main(str(checkpoint), n_head=3, gelu=gelu, text=text, export=folder)
    params, _ = mingpt.load(checkpoint, gelu)
    ids = torch.randint(27, (2, N_CTX))
    logits = gpt2.gpt2(ids.numpy(), **params, n_head=3)

    _, hparams, exported = load_encoder_hparams_and_params(folder)
    assert hparams == SIZES
    assert ("lm_head" in exported) == ("nanoGPT" not in layout)
    found = gpt2.gpt2(ids.numpy(), **exported, n_head=hparams["n_head"])
    np.testing.assert_allclose(found, logits, rtol=0, atol=1e-4)

    reference, info = transformers.GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert reference.config.tie_word_embeddings == ("nanoGPT" in layout)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        expected = reference.eval()(ids).logits.numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.1


def test_ascii_characters_are_tokens_for_gpt2_and_transformers(run_experiment, tmp_path):
    chars = "\n !'0adelmnrstv"
    model = LAYOUTS["minGPT"](**SIZES | {"n_vocab": len(chars)})
    save(model, tmp_path / "model.pt", "minGPT")
    (tmp_path / "input.txt").write_text(chars, encoding="utf-8", newline="\n")
    flags = ("--n_head=3", "--text=input.txt")
    assert run_experiment("mingpt.py", "model.pt", *flags, "--export=model") == (0, "model\n", "")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["bos_token_id"] is config["eos_token_id"] is None

    prompt = "sta'll  !\n\n a's"
    ids = [chars.index(char) for char in prompt]
    _, out, _ = run_experiment("mingpt.py", "model.pt", *flags, f"--prompt={prompt}", *GREEDY)
    prompt_flags = ("--model_size=model", prompt, "--temperature=0", "-n", "12", "--quiet")
    status, continuation, _ = run_experiment(ROOT / "gpt2.py", *prompt_flags)
    assert (status, prompt + continuation) == (0, out)

    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer(prompt)["input_ids"] == ids
    assert tokenizer.decode(ids) == prompt
    assert len(tokenizer) == len(chars)
    reference = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    new_ids = reference.generate(torch.tensor([ids[:4]]), max_new_tokens=12, do_sample=False, pad_token_id=0)
    params, _ = mingpt.load(tmp_path / "model.pt")
    assert new_ids[0, 4:].tolist() == list(gpt2.generate(ids[:4], params, 3, 12))

    for arguments, message in [
        (["sZ"], "the vocabulary lacks a byte of the text 'sZ'"),
        (["--unconditional"], "the model has no token that begins a text: give it a prompt"),
    ]:
        result = run_experiment(ROOT / "gpt2.py", "--model_size=model", *arguments)
        assert result == (2, "", f"gpt2.py: {message}\n")


@pytest.mark.parametrize(
    "source", ["bpe", ROOT / "models" / "demo", DATA / "hub" / "float32", DATA / "hub" / "float16"]
)
def test_export_copies_the_bpe_tokenizer(source, run_experiment, tmp_path):
    (tmp_path / "bpe").mkdir()
    save_tokenizer(tmp_path / "bpe", byte_encoder())
    expected = find_and_load_encoder(tmp_path / source)
    n_vocab = max(expected.decoder) + 3  # with padding
    save(LAYOUTS["minGPT"](**SIZES | {"n_vocab": n_vocab}), tmp_path / "model.pt", "minGPT")
    flags = ("--n_head=3", f"--encoder={source}", "--export=model")
    assert run_experiment("mingpt.py", "model.pt", *flags) == (0, "model\n", "")

    encoder, hparams, _ = load_encoder_hparams_and_params(str(tmp_path / "model"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert hparams["n_vocab"] == n_vocab
    assert encoder.stop_ids == [expected.end_of_text]
    for text in json.loads((DATA / "hard_texts.json").read_text(encoding="utf-8")):
        ids = expected.encode(text, "all")
        assert encoder.encode(text) == ids
        assert tokenizer(text)["input_ids"] == ids


@pytest.mark.parametrize(
    ("training_text", "flag"),
    [
        (None, "--n_head=3"),
        (" ".join(CHARS) + " aa", "--words=input.txt"),
        (CHARS[:-1] + "é", "--text=input.txt"),
    ],
)
def test_other_tokens_are_exported_without_a_tokenizer(training_text, flag, run_experiment, tmp_path):
    if training_text:
        (tmp_path / "input.txt").write_text(training_text, encoding="utf-8")
    save(random_model("nanoGPT"), tmp_path / "ckpt.pt", "nanoGPT")
    status, out, err = run_experiment("mingpt.py", "ckpt.pt", flag, "--export=model")
    assert (status, out) == (0, "model\n")
    reason = "which gpt2.py needs: the tokens are not BPE or ASCII characters"
    assert err == f"mingpt.py: model has no tokenizer, {reason}\n"
    assert files_in(tmp_path / "model") == ["config.json", "model.safetensors"]

    params, _ = mingpt.load(tmp_path / "ckpt.pt")
    reference = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        expected = reference(torch.tensor([[3, 1, 2]])).logits[0].numpy()
    np.testing.assert_allclose(gpt2.gpt2([3, 1, 2], **params, n_head=3), expected, rtol=0, atol=1e-4)
    message = "the folder model is not a complete model: it lacks vocab.json, merges.txt"
    assert run_experiment(ROOT / "gpt2.py", "--model_size=model", "ab") == (1, "", f"gpt2.py: {message}\n")


def test_failed_export_leaves_no_folder(run_experiment, tmp_path):
    save(random_model("nanoGPT"), tmp_path / "ckpt.pt", "nanoGPT")
    (tmp_path / "mine").mkdir()
    for path, message in [
        ("mine", "mine already exists: delete it, or choose another folder"),
        ("no/where", "cannot create where: there is no folder no"),
        ("demo", "demo is the name of another model: choose another folder"),
    ]:
        result = run_experiment("mingpt.py", "ckpt.pt", f"--export={path}")
        assert result == (2, "", f"mingpt.py: {message}\n")
    assert files_in(tmp_path) == ["ckpt.pt", "mine"]
