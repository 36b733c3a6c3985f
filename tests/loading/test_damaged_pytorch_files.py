"""Damaged, malicious and unsupported files of PyTorch are rejected, within limits of time and memory."""

import io
import pickle
import random
import tarfile
import time
import zipfile
from collections import Counter

import numpy as np
import pytest
from support.checkpoint_fuzzer import MAX_SECONDS, change_bytes, limited_memory
from support.pytorch_fuzzer import change_pytorch
from support.pytorch_writer import (
    SYSTEM,
    call,
    legacy_file,
    mapping,
    name,
    plain,
    pytorch_file,
    storage,
    tensor,
    zip_archive,
    zip_file,
)

from loading.pytorch_checkpoint import read_pytorch_file, read_state_dict
from loading.untrusted_files import CheckpointError

DATA = bytes(24)  # of a storage of six float32


def zip_of(piece, **members):
    """A file in zip format with one tensor, and the storage 0."""
    return zip_file(mapping({"a": piece}), {"0": DATA}, **members)


def legacy_of(piece=None, **pickles):
    """The same in legacy format."""
    return legacy_file(
        mapping({"a": piece or tensor(storage("FloatStorage", "0", 6, None))}), {"0": (6, DATA)}, **pickles
    )


def overlapping(n_members):
    """A zip archive whose storages are all the same bytes."""
    file = io.BytesIO()
    keys = [str(n) for n in range(n_members)]
    pieces = mapping({key: tensor(storage("HalfStorage", key, 10_000), 0, (10_000,), (1,)) for key in keys})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pieces + b".")
        archive.writestr("archive/data/0", bytes(20_000))
        first = archive.filelist[-1]
        for key in keys[1:]:
            archive.writestr(f"archive/data/{key}", b"")
            for field in ("header_offset", "file_size", "compress_size"):
                setattr(archive.filelist[-1], field, getattr(first, field))
    return file.getvalue()


def tar_archive():
    """An archive as PyTorch 0.1 wrote it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return file.getvalue()


def with_huge_directory():
    return zip_archive({f"archive/{n:05d}{'a' * 100}": b"" for n in range(8000)})


GOOD = zip_of(tensor())
LEGACY = legacy_of()
SIZES = "offset, size or stride of a tensor"
BROKEN_FILES = {
    # Other files.
    "empty": (b"", "not a file of torch.save"),
    "a web page": (b"<html>" * 100, "not a file of torch.save"),
    "a pickle": (pickle.dumps({"a": 1}, 2), "not a file of torch.save"),
    "a zip archive of other files": (zip_archive({"a/b": b"c"}), "not a file of torch.save"),
    "an empty zip archive": (zip_archive({}), "not a file of torch.save"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "a tar archive": (tar_archive(), "tar archive"),
    "TorchScript": (zip_of(tensor(), **{"constants.pkl": b""}), "TorchScript"),
    "big-endian": (zip_of(tensor(), byteorder=b"big"), "big-endian"),
    # Broken zip archives.
    "two files data.pkl": (zip_archive({"a/data.pkl": b"}.", "b/data.pkl": b"}."}), "2 files data.pkl"),
    "compressed": (
        zip_archive({"a/data.pkl": b"}.", "a/data/0": bytes(10**6)}, zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "overlapping members": (overlapping(500), "overlap"),
    "a huge directory": (with_huge_directory(), "the directory of the zip archive exceeds"),
    "a member of another size": (GOOD.replace(DATA, DATA[:-1]), None),
    # Broken tensors.
    "a path as a key": (zip_of(tensor(storage(key="../data/0"))), "is missing or has another size"),
    "missing storage": (zip_of(tensor(storage(key="1"))), "storage '1' is missing"),
    "storage too long": (zip_of(tensor(storage(n_elements=7))), "has another size"),
    "storage too short": (zip_of(tensor(storage(n_elements=5), 0, (1,), (1,))), "has another size"),
    "storage of another type": (zip_of(tensor(storage("DoubleStorage"))), "has another size"),
    "huge storage": (zip_of(tensor(storage(n_elements=2**62))), "has another size"),
    "negative storage": (zip_of(tensor(storage(n_elements=-6))), "outside"),
    "negative offset": (zip_of(tensor(None, -1, (1,), (1,))), SIZES),
    "negative size": (zip_of(tensor(None, 0, (-2, -3), (3, 1))), SIZES),
    "negative stride": (zip_of(tensor(None, 5, (6,), (-1,))), SIZES),
    "offset is no integer": (zip_of(tensor(None, 0.0, (1,), (1,))), SIZES),
    "size is a bool": (zip_of(tensor(None, 0, (True,), (1,))), SIZES),
    "size is a list": (zip_of(tensor(None, 0, [6], (1,))), "two tuples"),
    "size is nested": (zip_of(tensor(None, 0, ((6,),), (1,))), SIZES),
    "size and stride differ": (zip_of(tensor(None, 0, (6,), (1, 1))), "two tuples"),
    "too many axes": (zip_of(tensor(None, 0, (1,) * 33, (1,) * 33)), "32"),
    "offset too large": (zip_of(tensor(None, 1, (2, 3), (3, 1))), "ends after its storage"),
    "size too large": (zip_of(tensor(None, 0, (7,), (1,))), "ends after its storage"),
    "stride too large": (zip_of(tensor(None, 0, (2, 3), (4, 1))), "ends after its storage"),
    "numbers overflow": (zip_of(tensor(None, 2**63, (2**64,), (2**64,))), "ends after its storage"),
    "expanded": (zip_of(tensor(None, 0, (10**6, 6), (0, 1))), "expanded"),
    "huge stride of one element": (zip_of(tensor(None, 0, (1,), (2**70,))), "too large for NumPy"),
    "empty but huge": (zip_of(tensor(None, 0, (0, 2**62, 2**62), (1, 1, 1))), "too large for NumPy"),
    # Broken legacy files.
    "legacy, another version": (legacy_of(version=1002), "version"),
    "legacy, big-endian": (legacy_of(system={**SYSTEM, "little_endian": False}), "big-endian"),
    "legacy, system is a list": (legacy_of(system=[1]), "big-endian"),
    "legacy, keys are a number": (legacy_of(keys=3), "unknown key"),
    "legacy, keys are lists": (legacy_of(keys=[["0"]]), "unknown key"),
    "legacy, another key": (legacy_of(keys=["1"]), "unknown key"),
    "legacy, no keys": (legacy_of(keys=[]), "is missing"),
    "legacy, unknown type": (legacy_of(tensor(storage("NewStorage", "0", 6, None))), "unknown key or type"),
    "legacy, another size": (LEGACY.replace(b"\6" + bytes(7), b"\5" + bytes(7)), "differs from its size"),
    "legacy, huge storage": (legacy_of(tensor(storage("FloatStorage", "0", 2**62, None))), "truncated"),
    "legacy, part outside": (legacy_of(tensor(storage("FloatStorage", "0", 6, ("1", 5, 2)))), "outside"),
    "legacy, negative part": (legacy_of(tensor(storage("FloatStorage", "0", 6, ("1", -1, 2)))), "outside"),
    "legacy, beyond part": (legacy_of(tensor(storage("FloatStorage", "0", 6, ("1", 1, 2)))), "ends after"),
}


@pytest.mark.parametrize("content", [GOOD, LEGACY], ids=["zip", "legacy"])
def test_the_unbroken_files_are_read(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    np.testing.assert_array_equal(read_pytorch_file(tmp_path / "x.bin")["a"], np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(("content", "message"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_every_broken_file_is_rejected(tmp_path, content, message):
    (tmp_path / "x.bin").write_bytes(content)
    start = time.process_time()
    with limited_memory(), pytest.raises(CheckpointError, match=rf"x\.bin: .*{message or ''}") as error:
        read_pytorch_file(tmp_path / "x.bin")
    assert time.process_time() - start < MAX_SECONDS
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [GOOD, LEGACY], ids=["zip", "legacy"])
def test_every_truncated_file_is_rejected(tmp_path, content):
    path = tmp_path / "x.bin"
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=r"x\.bin: "):
            read_pytorch_file(path)


@pytest.mark.parametrize("make_file", [zip_of, legacy_of])
def test_nothing_is_executed(make_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = call(name("os", "mkdir"), plain("trapped"))
    tensor_of_trap = call(
        name("torch._utils", "_rebuild_tensor_v2"), trap, *map(plain, (0, (1,), (1,), False, {}))
    )
    subclass_of_trap = call(
        name("torch._tensor", "_rebuild_from_type_v2"), name("os", "mkdir"), b"N", plain(("trapped",)), b"N"
    )
    for piece in (trap, tensor_of_trap, subclass_of_trap, trap + b"Q"):
        (tmp_path / "x.bin").write_bytes(make_file(piece))
        try:
            read_pytorch_file(tmp_path / "x.bin")
        except CheckpointError:
            assert make_file is legacy_of  # its storage is unused
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("is_legacy", [False, True])
def test_a_storage_with_many_views_is_converted_once(is_legacy, tmp_path):
    parts = [None] if is_legacy else []
    half = storage("HalfStorage", "0", 100_000, *parts)
    pieces = mapping({str(n): tensor(half, n, (99_000,), (1,)) for n in range(1000)})
    data = bytes(200_000)
    content = legacy_file(pieces, {"0": (100_000, data)}) if is_legacy else zip_file(pieces, {"0": data})
    (tmp_path / "x.bin").write_bytes(content)
    with limited_memory():  # copies would take 400 MB
        tensors, _ = read_state_dict(tmp_path / "x.bin")
    assert len(tensors) == 1000


# Random changes.


ARRAYS = {
    "wte": np.arange(20, dtype=np.float32).reshape(5, 4),
    "half": np.arange(4, dtype=np.float16).reshape(2, 2),
    "double": np.arange(3.0),
    "ids": np.arange(3),
    "mask": np.array([True, False]),
    "scalar": np.float32(3),
}


@pytest.mark.filterwarnings("ignore:.*skipped .* values of unsupported types")
@pytest.mark.parametrize("is_legacy", [False, True])
def test_damaged_files_are_read_or_rejected(is_legacy, tmp_path, request):
    n_cases = request.config.getoption("fuzz_cases") // 2
    content = pytorch_file(ARRAYS, is_legacy)
    path = tmp_path / "pytorch_model.bin"
    outcomes = Counter()
    for case in range(n_cases):
        rng = random.Random(case)
        path.write_bytes(change_bytes(content, rng) if rng.random() < 0.3 else change_pytorch(content, rng))
        outcomes[read_within_limits(path, case)] += 1
    print(f"{n_cases} cases: {dict(outcomes)}")
    assert outcomes["read"] > n_cases / 10
    assert outcomes["rejected"] > n_cases / 2


def read_within_limits(path, case):
    """Read a file, and all bytes of its tensors -> "read" or "rejected"."""
    start = time.process_time()
    try:
        with limited_memory():
            tensors, _ = read_state_dict(path)
            for tensor in tensors.values():
                tensor.tobytes()
        outcome = "read"
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: "), case
        assert "\n" not in str(error), case
        outcome = "rejected"
    except Exception as error:
        raise type(error)(f"case {case}: {error}") from error
    assert time.process_time() - start < MAX_SECONDS, case
    return outcome
