"""numogpt.py: its words are numoGPT's, and its loss and text equal those of a PyTorch model.

With NUMOGPT_DIR, the folder of the published files, the test also compares with the published figures.
"""

import os
from pathlib import Path

import numogpt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.torch_models import Since2022

torch.set_num_threads(1)

N_CTX = 6
STOP_WORDS = ["the", "a", "and", "unused"]
TEXT = """The cat sees the dog.
The dog, a C++ and Q&A expert, sees .NET: the cat's long-term C# plan! The dog ran"""
DISTINCT_WORDS = "the cat sees dog a c++ and q&a expert .net cat's long term c# plan ran"  # of TEXT, in order
WITHOUT_STOP_WORDS = "cat sees dog dog c++ q&a expert sees .net cat's long term c# plan dog ran"
VOCABULARY = [*DISTINCT_WORDS.split(), "[UNK]"]
IDS = [VOCABULARY.index(word) for word in WITHOUT_STOP_WORDS.split()]
N_VOCAB = 24  # 17, rounded up to a multiple of 8


@pytest.fixture
def model():
    """A random model in the layout of the published checkpoint."""
    torch.manual_seed(0)
    model = Since2022(N_VOCAB, N_CTX, n_embd=16, n_head=4, n_layer=2)
    for name, parameter in model.named_parameters():
        is_gain = "ln" in name and name.endswith("weight")
        torch.nn.init.normal_(parameter, mean=float(is_gain), std=0.4)
    return model.eval()


@pytest.fixture
def folder(model, tmp_path):
    """The three files, with the names of the published ones."""
    torch.save(model.state_dict(), tmp_path / "model.pth")
    (tmp_path / "train-nn.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "stopwords.txt").write_text("\n".join(STOP_WORDS) + "\n", encoding="utf-8")
    return tmp_path


def loss_of_windows(model, ids):
    """The mean cross entropy of all windows, one window at a time."""
    losses = []
    for start in range(len(ids) - N_CTX):
        window = torch.tensor(ids[start : start + N_CTX + 1])
        with torch.no_grad():
            losses.append(F.cross_entropy(model(window[None, :-1])[0], window[1:]).item())
    return sum(losses) / len(losses)


def greedy_ids(model, ids, n_tokens):
    """Continue ids with the PyTorch model, which reads the last N_CTX of them."""
    for _ in range(n_tokens):
        with torch.no_grad():
            ids = [*ids, int(model(torch.tensor([ids[-N_CTX:]]))[0, -1].argmax())]
    return ids


def test_vocabulary_has_the_words_in_order_of_appearance():
    vocabulary = numogpt.build_vocabulary(TEXT, N_VOCAB)
    assert list(vocabulary) == VOCABULARY
    assert list(vocabulary.values()) == list(range(len(VOCABULARY)))


def test_encode_removes_stop_words():
    assert numogpt.encode(TEXT, numogpt.build_vocabulary(TEXT, N_VOCAB), set(STOP_WORDS)) == IDS


def test_unknown_words_become_unk_with_a_notice():
    vocabulary = numogpt.build_vocabulary(TEXT, N_VOCAB)
    with pytest.warns(UserWarning, match=r"become \[UNK\]: zebra$"):
        ids = numogpt.encode("The zebra ran", vocabulary, set(STOP_WORDS))
    assert ids == [16, 15]
    assert numogpt.decode([16, 15, N_VOCAB - 1], vocabulary) == "[UNK] ran [UNK]"


@pytest.mark.parametrize("n_words", [7, 64 + 6, 200])
def test_mean_loss_equals_pytorch_window_by_window(model, folder, n_words):
    """200 words are 194 windows: four batches, and the last one is smaller."""
    ids = np.random.default_rng(0).integers(N_VOCAB, size=n_words).tolist()
    params, _ = numogpt.load(folder / "model.pth")
    assert numogpt.mean_loss(ids, params, n_head=4) == pytest.approx(loss_of_windows(model, ids), abs=1e-5)


def test_command_prints_loss_and_perplexity(model, folder, run_experiment):
    expected = loss_of_windows(model, IDS)
    status, out, err = run_experiment("numogpt.py", "model.pth")
    assert (status, err) == (0, "")
    val_loss, perplexity = out.rstrip("\n").split(", ")
    assert float(val_loss.removeprefix("val_loss=")) == pytest.approx(expected, abs=1e-4)
    assert float(perplexity.removeprefix("perplexity(PPL)=")) == pytest.approx(np.exp(expected), rel=1e-4)


def test_each_token_sees_exactly_the_context(model, folder):
    params, _ = numogpt.load(folder / "model.pth")
    for ids in np.random.default_rng(1).integers(N_VOCAB, size=(30, 10)).tolist():
        assert numogpt.complete(ids, params, 4, 3) == greedy_ids(model, ids, 3)


def test_command_completes_a_prompt_beyond_the_context(model, folder, run_experiment):
    ids = greedy_ids(model, [3, 1, 2], 12)
    assert len(set(ids)) > 3
    expected = " ".join((VOCABULARY + ["[UNK]"] * 7)[token_id] for token_id in ids)
    arguments = ["--prompt=the DOG and the cat sees", "--n_tokens_to_generate=12"]
    assert run_experiment("numogpt.py", "model.pth", *arguments) == (0, expected + "\n", "")


def test_flags_replace_the_files_beside_the_checkpoint(folder, run_experiment):
    beside = run_experiment("numogpt.py", "model.pth")
    (folder / "train-nn.txt").rename(folder / "a.txt")
    (folder / "stopwords.txt").rename(folder / "b.txt")
    assert run_experiment("numogpt.py", "model.pth", "--text=a.txt", "--stop_words=b.txt") == beside
    assert beside[0] == 0


def test_bad_input_is_a_one_line_error(folder, run_experiment):
    (folder / "few.txt").write_text("only four distinct words", encoding="utf-8")
    (folder / "all.txt").write_text(" ".join(VOCABULARY), encoding="utf-8")
    for arguments, message in [
        (["--text=few.txt"], "the text has 4 distinct words: this does not fit 24 tokens"),
        (["--text=missing.txt"], "cannot read missing.txt: No such file or directory"),
        (["--stop_words=missing.txt"], "cannot read missing.txt: No such file or directory"),
        (["--stop_words=all.txt"], "the text has 0 words without stop words: it needs at least 7"),
        (["--prompt=the and a"], "the prompt has no words, or only stop words"),
        (["--n_head=5"], "n_head must be a divisor of n_embd, 16, not 5"),
    ]:
        assert run_experiment("numogpt.py", "model.pth", *arguments) == (2, "", f"numogpt.py: {message}\n")


@pytest.mark.skipif(
    "NUMOGPT_DIR" not in os.environ, reason="NUMOGPT_DIR is not the folder of numoGPT's files"
)
def test_published_checkpoint_gives_its_published_figures(run_experiment):
    """The README of numoGPT has 0.5704 and 1.7690. PyTorch computes our figures from the same file."""
    folder = Path(os.environ["NUMOGPT_DIR"]).resolve()
    checkpoint = folder / "model-6-4-4-64-5k.pth"
    result = run_experiment("numogpt.py", checkpoint)
    assert result == (0, "val_loss=0.5703, perplexity(PPL)=1.7688\n", "")

    model = Since2022(1256, N_CTX, n_embd=64, n_head=4, n_layer=4)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    text = (folder / "train-nn.txt").read_text(encoding="utf-8")
    stop_words = set((folder / "stopwords.txt").read_text(encoding="utf-8").split())
    vocabulary = numogpt.build_vocabulary(text, 1256)
    ids = numogpt.encode(text, vocabulary, stop_words)
    assert (len(vocabulary), len(ids)) == (1250, 4683)
    loss = loss_of_windows(model.double(), ids)
    assert (round(loss, 4), round(np.exp(loss), 4)) == (0.5703, 1.7688)
    assert (loss, np.exp(loss)) == pytest.approx((0.5704, 1.7690), abs=2e-4)

    published = "text clustering algorithms sota pretrained language"
    assert run_experiment("numogpt.py", checkpoint, "--prompt=text") == (0, published + "\n", "")
    arguments = ["--prompt=clustering algorithms sota pretrained language", "--n_tokens_to_generate=1"]
    completed = "clustering algorithms sota pretrained language model\n"
    assert run_experiment("numogpt.py", checkpoint, *arguments) == (0, completed, "")
