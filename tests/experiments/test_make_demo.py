"""Making the demo model: its text, byte for byte, its tokenizer, and a short training."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from support.paths import ROOT, posix

from encoder import get_encoder
from loading.tf_checkpoint import read_tf_checkpoint
from models.make_demo import make_tokenizer, train
from models.make_demo.make_text import N_DOCUMENTS, SEED, read_documents, write_text

N_STEPS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 3,000 documents, and the tokenizer trained on them."""
    folder = tmp_path_factory.mktemp("training")
    write_text(folder, n_documents=3000, seed=1)
    merges = make_tokenizer.train_merges(read_documents(folder / "train.txt"))
    make_tokenizer.write_tokenizer(folder, merges)
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    return train.pack_rows(train.encode_documents(folder), np.random.default_rng(0))


def test_the_text_is_the_published_one(tmp_path):
    write_text(tmp_path, N_DOCUMENTS, SEED)
    checksums = (ROOT / "models/make_demo/text.sha256").read_text().split()
    for checksum, name in zip(checksums[::2], checksums[1::2], strict=True):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == checksum


def test_our_encoder_reads_the_tokenizer(folder):
    encoder = get_encoder(folder.name, folder.parent)
    assert len(encoder.encoder) == 4096
    assert encoder.end_of_text == 4095
    texts = read_documents(folder / "train.txt")[:100]
    assert [encoder.encode(text) for text in texts] == train.encode_documents(folder)[:100]


def test_rows_hold_whole_documents(folder, rows):
    encoder = get_encoder(folder.name, folder.parent)
    texts = set(read_documents(folder / "train.txt"))
    assert rows.shape[1] == 257
    for row in rows[:100]:
        *whole, last = encoder.decode(row).removeprefix("<|endoftext|>").split("<|endoftext|>")
        assert whole
        assert set(whole) <= texts
        assert any(text.startswith(last) for text in texts)
    assert np.mean(rows[:, 0] == 4095) == pytest.approx(0.5, abs=0.06)


def test_orthogonalize_flattens_the_singular_values():
    torch.manual_seed(0)
    for shape in ((64, 64), (32, 96), (96, 32)):
        values = np.linalg.svd(train.orthogonalize(torch.randn(shape)).numpy(), compute_uv=False)
        assert np.median(values) == pytest.approx(1, abs=0.3)
        assert values.max() < 1.3


def test_spread_embeddings_moves_equal_embeddings_apart():
    model, twin = train.new_model(), train.new_model()
    for each in (model, twin):
        torch.nn.init.ones_(each.transformer.wte.weight)
        train.spread_embeddings(each, seed=1)
    weight = model.transformer.wte.weight.detach().numpy()
    distances = np.linalg.norm(weight[1:] - weight[:-1], axis=1)
    assert distances.mean() == pytest.approx(train.SPREAD * np.sqrt(2 * train.N_EMBD), rel=0.02)
    assert torch.equal(model.transformer.wte.weight, twin.transformer.wte.weight)


def test_the_training_spreads_the_embeddings(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "SPREAD_STEPS", (1,))
    weights = []
    for spread in (train.SPREAD, 0):
        monkeypatch.setattr(train, "SPREAD", spread)
        folder = tmp_path / str(spread)
        folder.mkdir()
        model = train.train(rows, folder, n_steps=2, learning_rate=3e-3, seed=0)
        weights.append(model.transformer.wte.weight.detach().numpy())
    assert np.std(weights[0] - weights[1]) == pytest.approx(0.06, rel=0.05)


def train_command(folder, into):
    """Copy what the training reads into a new folder. Return the command that trains there."""
    into.mkdir()
    for name in ("train.txt", "encoder.json", "vocab.bpe"):
        shutil.copyfile(folder / name, into / name)
    options = [f"--n_steps={N_STEPS}", "--steps_per_checkpoint=4"]
    return [sys.executable, "-m", "models.make_demo.train", f"--folder={into}", *options]


@posix
def test_an_interrupted_training_resumes(folder, tmp_path):
    """It gives the same weights, bit for bit, as a training in one go."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(train_command(folder, whole), cwd=ROOT, check=True)

    command = train_command(folder, parts)
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8")
    deadline = time.monotonic() + 120
    while not (parts / "checkpoint.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "Stopped. The same command resumes at the last checkpoint."
    assert not (parts / "weights.npz").exists()

    resumed = subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.PIPE, encoding="utf-8")
    assert f" 0/{N_STEPS} " not in resumed.stderr
    with np.load(whole / "weights.npz") as expected, np.load(parts / "weights.npz") as weights:
        for name in expected:
            np.testing.assert_array_equal(weights[name], expected[name])


def test_a_checkpoint_of_another_training_is_rejected(rows, tmp_path):
    train.train(rows, tmp_path, n_steps=1, learning_rate=5e-3, seed=0)
    with pytest.raises(ValueError, match="another text or has other settings"):
        train.train(rows, tmp_path, n_steps=2, learning_rate=5e-3, seed=0)


def test_too_little_text_is_an_error(rows):
    with pytest.raises(ValueError, match="too few pairs"):
        make_tokenizer.train_merges(["Mia has a hat."])
    with pytest.raises(ValueError, match="fills no row"):
        train.pack_rows([[1, 2, 3]], np.random.default_rng(0))


def test_the_variables_are_those_of_the_bundled_model():
    variables = train.openai_variables(train.new_model())
    bundled = read_tf_checkpoint(ROOT / "models/demo/model.ckpt")
    assert {name: array.shape for name, array in variables.items()} == {
        name: array.shape for name, array in bundled.items()
    }


def test_a_short_training_learns(rows, tmp_path):
    torch.manual_seed(0)
    before, after = train.new_model(), train.train(rows[:-8], tmp_path, N_STEPS, 5e-3, seed=0)
    batch = torch.from_numpy(rows[-8:].astype(np.int64))
    with torch.no_grad():
        losses = [train.loss_of(model, batch).item() for model in (before, after)]
    assert losses[0] == pytest.approx(np.log(4096), abs=0.2)
    assert losses[1] < losses[0] - 0.5
