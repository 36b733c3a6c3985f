"""Reordered weights keep their values, and a wrong or damaged .ordered file is never used."""

import os
import re
import shutil
import stat
import sys

import numpy as np
import pytest
from support.paths import DATA_FILE, HUB_MODEL, files_in, posix
from support.random_params import random_params

from loading import weight_order
from loading.model_folder import load_folder
from loading.untrusted_files import CheckpointError
from loading.weight_order import check_ordered_file, find_arrays, order_weights
from utils import DEMO_DIR, load_encoder_hparams_and_params

SHAPES = {"n_vocab": 50, "n_ctx": 24, "n_embd": 12, "n_layer": 2}
ORDERED = f"{DATA_FILE}.ordered"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """The path of a checkpoint's data file. Weights of any size get an .ordered file beside it."""
    monkeypatch.setattr(weight_order, "MIN_SIZE", 0)
    path = tmp_path / DATA_FILE
    path.write_bytes(b"only its modification time counts")
    return path


def transposed_weights(params):
    blocks = params["blocks"]
    return [
        params["wte"],
        *[block["attn"]["c_proj"]["w"] for block in blocks],
        *[block["mlp"]["c_proj"]["w"] for block in blocks],
    ]


def check(seed, checkpoint):
    """Order random weights. All values stay. wte, and weights with n_in >= n_out, are in Fortran order."""
    before, after = random_params(**SHAPES, std=1, seed=seed), random_params(**SHAPES, std=1, seed=seed)
    order_weights(after, [checkpoint])
    for old, new in zip(transposed_weights(before), transposed_weights(after), strict=True):
        np.testing.assert_array_equal(new, old)
        assert new.flags.f_contiguous
        assert not new.flags.writeable
    for old, new in zip(before["blocks"], after["blocks"], strict=True):
        for name, linear in (("attn", "c_attn"), ("mlp", "c_fc")):
            np.testing.assert_array_equal(new[name][linear]["w"], old[name][linear]["w"])
            assert new[name][linear]["w"].flags.c_contiguous


def test_small_models_are_transposed_in_memory(checkpoint, monkeypatch):
    monkeypatch.setattr(weight_order, "MIN_SIZE", 2**26)
    check(0, checkpoint)
    assert files_in(checkpoint.parent) == [checkpoint.name]


def test_the_demo_gets_no_ordered_file():
    load_encoder_hparams_and_params("demo")
    assert not [name for name in files_in(DEMO_DIR) if "ordered" in name]


def test_lm_head_is_transposed_and_numbers_stay(checkpoint):
    params = random_params(**SHAPES, std=1)
    params["lm_head"], params["ln_f"]["eps"] = params["wte"] + 1, 1e-3
    order_weights(params, [checkpoint])
    assert params["lm_head"].flags.f_contiguous
    np.testing.assert_array_equal(params["lm_head"], random_params(**SHAPES, std=1)["wte"] + 1)
    assert params["ln_f"]["eps"] == 1e-3


def test_unaligned_weights_are_copied(tmp_path):
    """The header of a safetensors file can have any length."""
    folder = shutil.copytree(HUB_MODEL.with_name("float32"), tmp_path / "model")
    path = folder / "model.safetensors"
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes((start - 7).to_bytes(8, "little") + content[8:start] + b" " + content[start:])
    assert start % 4 == 0

    def arrays(params):
        return [tree[name] for tree, name, _ in find_arrays(params)]

    _, _, params, paths = load_folder(folder)
    before = arrays(params)
    assert not any(array.flags.aligned for array in before)
    order_weights(params, paths)
    for old, new in zip(before, arrays(params), strict=True):
        assert new.flags.aligned
        np.testing.assert_array_equal(new, old)


def test_the_ordered_file_is_written_once(checkpoint):
    check(0, checkpoint)
    assert files_in(checkpoint.parent) == [checkpoint.name, ORDERED]
    first = checkpoint.with_name(ORDERED).stat()
    check(0, checkpoint)
    assert checkpoint.with_name(ORDERED).stat().st_ino == first.st_ino


@posix
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_ordered_file_has_the_permissions_of_the_checkpoint(checkpoint, mode):
    checkpoint.chmod(mode)
    check(0, checkpoint)
    assert stat.S_IMODE(checkpoint.with_name(ORDERED).stat().st_mode) == mode


def test_a_newer_checkpoint_gets_a_new_ordered_file(checkpoint):
    check(0, checkpoint)
    os.utime(checkpoint, ns=(10**18, 10**18))
    check(1, checkpoint)


def test_another_checkpoint_of_the_same_age_gets_a_new_ordered_file(checkpoint):
    """Some releases set the same time on all files."""
    check(0, checkpoint)
    check(1, checkpoint)


def test_a_replaced_shard_leads_to_a_new_ordered_file(checkpoint):
    """The newest of the files determines the modification time."""
    other = checkpoint.with_name("other")
    for seed in (0, 1):
        other.write_bytes(b"")
        os.utime(other, ns=(10**18, 2 * 10**18 + seed))
        params, expected = (random_params(**SHAPES, std=1, seed=seed) for _ in range(2))
        params["wte"][3:], expected["wte"][3:] = seed, seed
        order_weights(params, [checkpoint, other])
        np.testing.assert_array_equal(params["wte"], expected["wte"])


def test_a_second_start_reads_the_ordered_file(checkpoint):
    check(0, checkpoint)
    ordered = checkpoint.with_name(ORDERED)
    times = ordered.stat()
    content = bytearray(ordered.read_bytes())
    content[200:204] = np.float32(42).tobytes()  # first is wte, transposed: [n_embd, n_vocab] = [12, 50]
    ordered.write_bytes(content)
    os.utime(ordered, ns=(times.st_atime_ns, times.st_mtime_ns))
    params = random_params(**SHAPES, std=1, seed=0)
    order_weights(params, [checkpoint])
    assert params["wte"][0, 1] == 42
    params = random_params(**SHAPES, std=1, seed=0)
    with pytest.raises(CheckpointError, match=rf"{re.escape(ORDERED)}: it differs from the weights; del"):
        check_ordered_file(params, [checkpoint])
    ordered.unlink()
    check_ordered_file(params, [checkpoint])


def test_a_file_system_that_cannot_set_times_is_a_warning(checkpoint, monkeypatch):
    """Some network file systems cannot. The weights are transposed in memory."""
    os.utime(checkpoint, ns=(10**18, 10**18))
    monkeypatch.setattr(os, "utime", lambda *_, **__: None)
    with pytest.warns(UserWarning, match="cannot set its modification time; without this file"):
        check(0, checkpoint)


@pytest.mark.parametrize("size", [0, 1, 4000])
def test_a_truncated_ordered_file_is_rewritten(checkpoint, size):
    check(0, checkpoint)
    ordered = checkpoint.with_name(ORDERED)
    times = ordered.stat()
    os.truncate(ordered, size)
    os.utime(ordered, ns=(times.st_atime_ns, times.st_mtime_ns))
    check(0, checkpoint)


def test_a_folder_in_place_of_the_file_is_a_warning(checkpoint):
    checkpoint.with_name(ORDERED).mkdir()
    message = f"{re.escape(ORDERED)}: .*; without this file, every start is slower"
    with pytest.warns(UserWarning, match=message):
        check(0, checkpoint)
    assert files_in(checkpoint.parent) == [checkpoint.name, ORDERED]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of a file")
def test_a_full_disk_is_a_warning_of_one_line_and_leaves_no_file(run, generated_text, tmp_path):
    model = shutil.copytree(DEMO_DIR, tmp_path / "model")
    code = f"""
import resource, sys
from cli.exit_status import run
from cli.flags import main
from loading import weight_order
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
weight_order.MIN_SIZE = 0
sys.argv = ["gpt2.py", "--model_size={model}", "-n=3", "--quiet", "The king"]
run(main)
"""
    status, stdout, stderr = run(code=code)
    assert (status, stdout) == (0, generated_text("The king", 3))
    assert re.fullmatch(rf"gpt2\.py: .*{re.escape(ORDERED)}: .*; without this file, .*\n", stderr)
    assert files_in(model) == files_in(DEMO_DIR)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_rejected_in_one_line(run, edited_demo, value):
    def damage(wte, vocabulary):
        wte[7, 7] = value

    model = edited_demo(damage)
    for flags in (["-n=3"], ["--score"], ["-n=3", "--logprobs=1"]):
        status, stdout, stderr = run("The king", f"--model_size={model}", *flags)
        assert (status, stdout) == (1, "")
        assert re.fullmatch(r"gpt2\.py: .*: wte \[4096, 256\] has NaN or infinite values\n", stderr)


def test_a_large_model_that_is_not_finite_leaves_no_ordered_file(checkpoint):
    params = random_params(**SHAPES, std=1)
    params["blocks"][1]["mlp"]["c_fc"]["b"][3] = np.nan
    with pytest.raises(CheckpointError, match=r"b \[48\] has NaN or infinite values"):
        order_weights(params, [checkpoint])
    assert files_in(checkpoint.parent) == [checkpoint.name]
