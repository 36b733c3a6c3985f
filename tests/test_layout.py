"""The weights that are turned around keep their values, and the copy on disk is never a wrong one."""

import os
import re
import shutil
import stat
import sys

import numpy as np
import pytest
from conftest import HUB_MODEL
from random_params import random_params

import layout
from checkpoint import CheckpointError
from formats import load_folder
from layout import check_ordered_copy, find_arrays, put_in_fastest_order
from utils import DEMO_DIR, load_encoder_hparams_and_params

SHAPES = {"n_vocab": 50, "n_ctx": 24, "n_embd": 12, "n_layer": 2}
ORDERED = "model.ckpt.data-00000-of-00001.ordered"


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """The path of a checkpoint's data. For these tests no weights are too small for a copy on disk."""
    monkeypatch.setattr(layout, "MIN_SIZE", 0)
    path = tmp_path / "model.ckpt.data-00000-of-00001"
    path.write_bytes(b"only its time counts")
    return path


def turned_weights(params):
    blocks = params["blocks"]
    return [
        params["wte"],
        *[block["attn"]["c_proj"]["w"] for block in blocks],
        *[block["mlp"]["c_proj"]["w"] for block in blocks],
    ]


def check(seed, checkpoint):
    """All values stay; of the weights those with n_in >= n_out, and wte, are in Fortran order."""
    before, after = random_params(**SHAPES, std=1, seed=seed), random_params(**SHAPES, std=1, seed=seed)
    put_in_fastest_order(after, [checkpoint])
    for old, new in zip(turned_weights(before), turned_weights(after), strict=True):
        np.testing.assert_array_equal(new, old)
        assert new.flags.f_contiguous
        assert not new.flags.writeable
    for old, new in zip(before["blocks"], after["blocks"], strict=True):
        for name, linear in (("attn", "c_attn"), ("mlp", "c_fc")):
            np.testing.assert_array_equal(new[name][linear]["w"], old[name][linear]["w"])
            assert new[name][linear]["w"].flags.c_contiguous


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_little_is_turned_in_memory(checkpoint, monkeypatch):
    monkeypatch.setattr(layout, "MIN_SIZE", 2**26)
    check(0, checkpoint)
    assert files_in(checkpoint.parent) == [checkpoint.name]


def test_the_demo_leaves_no_file():
    load_encoder_hparams_and_params("demo")
    assert not [name for name in files_in(DEMO_DIR) if "ordered" in name]


def test_another_head_is_turned_and_numbers_stay(checkpoint):
    params = random_params(**SHAPES, std=1)
    params["lm_head"], params["ln_f"]["eps"] = params["wte"] + 1, 1e-3
    put_in_fastest_order(params, [checkpoint])
    assert params["lm_head"].flags.f_contiguous
    np.testing.assert_array_equal(params["lm_head"], random_params(**SHAPES, std=1)["wte"] + 1)
    assert params["ln_f"]["eps"] == 1e-3


def test_weights_that_begin_at_an_odd_byte_are_moved(tmp_path):
    """In a safetensors file the header may have any length."""
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
    put_in_fastest_order(params, paths)
    for old, new in zip(before, arrays(params), strict=True):
        assert new.flags.aligned
        np.testing.assert_array_equal(new, old)


def test_the_copy_is_made_once(checkpoint):
    check(0, checkpoint)
    assert files_in(checkpoint.parent) == [checkpoint.name, ORDERED]
    first = checkpoint.with_name(ORDERED).stat()
    check(0, checkpoint)
    assert checkpoint.with_name(ORDERED).stat().st_ino == first.st_ino


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_copy_can_be_read_by_those_who_can_read_the_checkpoint(checkpoint, mode):
    checkpoint.chmod(mode)
    check(0, checkpoint)
    assert stat.S_IMODE(checkpoint.with_name(ORDERED).stat().st_mode) == mode


def test_another_checkpoint_gets_another_copy(checkpoint):
    check(0, checkpoint)
    os.utime(checkpoint, ns=(10**18, 10**18))
    check(1, checkpoint)


def test_another_checkpoint_of_the_same_age_gets_another_copy(checkpoint):
    """As where a model's files all have the time of a release."""
    check(0, checkpoint)
    check(1, checkpoint)


def test_another_file_of_several_gets_another_copy(checkpoint):
    """As where one shard of a model has been replaced."""
    other = checkpoint.with_name("other")
    for seed in (0, 1):
        other.write_bytes(b"")
        os.utime(other, ns=(10**18, 2 * 10**18 + seed))
        params, expected = (random_params(**SHAPES, std=1, seed=seed) for _ in range(2))
        params["wte"][3:], expected["wte"][3:] = seed, seed
        put_in_fastest_order(params, [checkpoint, other])
        np.testing.assert_array_equal(params["wte"], expected["wte"])


def test_a_second_start_reads_the_copy(checkpoint):
    check(0, checkpoint)
    copy = checkpoint.with_name(ORDERED)
    times = copy.stat()
    content = bytearray(copy.read_bytes())
    content[200:204] = np.float32(42).tobytes()  # wte comes first, turned: [n_embd, n_vocab] = [12, 50]
    copy.write_bytes(content)
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    params = random_params(**SHAPES, std=1, seed=0)
    put_in_fastest_order(params, [checkpoint])
    assert params["wte"][0, 1] == 42
    params = random_params(**SHAPES, std=1, seed=0)
    with pytest.raises(
        CheckpointError, match=rf"{re.escape(ORDERED)}: it is not what the weights are; delete it"
    ):
        check_ordered_copy(params, [checkpoint])
    copy.unlink()
    check_ordered_copy(params, [checkpoint])


def test_where_a_file_cannot_have_its_time_it_is_said_and_done_in_memory(checkpoint, monkeypatch):
    """As on some network file systems."""
    os.utime(checkpoint, ns=(10**18, 10**18))
    monkeypatch.setattr(os, "utime", lambda *_, **__: None)
    with pytest.warns(UserWarning, match="its time cannot be set; without that file"):
        check(0, checkpoint)


@pytest.mark.parametrize("size", [0, 1, 4000])
def test_a_copy_cut_short_is_made_anew(checkpoint, size):
    check(0, checkpoint)
    copy = checkpoint.with_name(ORDERED)
    times = copy.stat()
    os.truncate(copy, size)
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    check(0, checkpoint)


def test_where_no_file_can_be_written_it_is_done_in_memory(checkpoint):
    checkpoint.with_name(ORDERED).mkdir()
    message = f"{re.escape(ORDERED)}: .*; without that file each start takes longer"
    with pytest.warns(UserWarning, match=message):
        check(0, checkpoint)
    assert files_in(checkpoint.parent) == [checkpoint.name, ORDERED]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file to set")
def test_a_full_disk_is_said_in_a_line_and_leaves_nothing(run, tmp_path):
    model = shutil.copytree(DEMO_DIR, tmp_path / "model")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)); import layout;"
        f"layout.MIN_SIZE = 0; sys.argv = ['gpt2.py', '--model_size={model}', '-n=3', '--quiet', 'The king'];"
        "from cli import run; from commands import main; run(main)"
    )
    status, stdout, stderr = run(code=code)
    assert (status, stdout) == (0, "'s son,\n")
    assert re.fullmatch(rf"gpt2\.py: .*{re.escape(ORDERED)}: .*; without that file .*\n", stderr)
    assert files_in(model) == files_in(DEMO_DIR)
