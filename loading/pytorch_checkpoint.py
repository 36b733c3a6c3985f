"""Read files of torch.save, such as pytorch_model.bin, without PyTorch: a pickle, and the tensors' storages.

A storage is an array with one axis. A tensor is a view of a storage: offset, size and stride, in elements.
The pickle refers to a storage by its key. Since PyTorch 1.6, a file is a zip archive without compression:

    NAME/data.pkl | NAME/byteorder | NAME/data/KEY (the bytes of a storage) | NAME/data/KEY | ...

Before, in the legacy format, it is a sequence:

    pickles: magic number, version, system, object, list of keys | for each key: n_elements (8 bytes), bytes

Format: torch/serialization.py and torch/_utils.py in PyTorch.
"""

import io
import struct
import zipfile
from warnings import warn

import numpy as np

from loading.pickle_parser import parse_pickle
from loading.pytorch_tensors import ELEMENT_SIZES, TensorReader, parse_storage_id
from loading.untrusted_files import CheckpointError, error_context, map_file

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
VERSION = 1001
MAX_DIRECTORY_SIZE = 2**20  # bytes of a zip archive's directory; it has 100 for a storage
NOT_A_TORCH_FILE = "not a file of torch.save, or truncated"
BIG_ENDIAN = "the file is big-endian; only little-endian is supported"
STATE_DICT_NAMES = ("model", "state_dict", "model_state_dict", "module")  # where checkpoints keep it


def read_pytorch_tensors(path):
    """Read the state dict in a file of torch.save -> {name: np.ndarray}. Raises as `read_state_dict`."""
    tensors, _ = read_state_dict(path)
    return tensors


def read_state_dict(path):
    """Read a file of torch.save, and find the state dict in it. Warns of values that it skips.

    Returns:
        tensors: {name: np.ndarray}, the state dict without values that are not tensors of a supported type.
        content: the dict in the file, as from `read_pytorch_file`.

    Raises:
        CheckpointError: the file is damaged, not supported, or contains no state dict.
        FileNotFoundError: the file is missing.
    """
    content = read_pytorch_file(path)
    with error_context(path):
        state_dict = find_state_dict(content)
    tensors = find_tensors(state_dict)
    skipped = [repr(name[:80]) for name in state_dict if name not in tensors]
    if skipped:
        names = ", ".join(skipped[:5])
        warn(f"{path}: skipped {len(skipped)} values of unsupported types: {names}", stacklevel=2)
    return tensors, content


def find_state_dict(content, depth=2):
    """Find the dict with tensors: the value of one of STATE_DICT_NAMES, or `content`, or its only such value.

    Raises CheckpointError if there is none, or more than one.
    """
    if type(content) is dict:
        for name in STATE_DICT_NAMES:
            if type(content.get(name)) is dict and depth > 0:
                return find_state_dict(content[name], depth - 1)
        if find_tensors(content):
            return content
        names = [name for name in content if name != "optimizer" and find_tensors(content[name])]
        if len(names) == 1:
            return content[names[0]]
        if names:
            raise CheckpointError(f"several values are state dicts, such as {names[0]!r:.80}")
    raise CheckpointError("not a state dict, which maps names to tensors: save model.state_dict()")


def find_tensors(value):
    """The tensors in a dict whose keys are names -> {name: np.ndarray}; {} for other values."""
    if type(value) is not dict or not all(type(name) is str for name in value):
        return {}
    return {name: tensor for name, tensor in value.items() if isinstance(tensor, np.ndarray)}


def read_pytorch_file(path):
    """Read the object in a file of torch.save.

    Returns:
        The value that `parse_pickle` returns. A tensor is a read-only np.ndarray, and tied tensors are the
        same array. float32, integers and bool are views of the memory-mapped file. float16, bfloat16 and
        float64 become float32. Other types of tensors are Calls.

    Raises:
        CheckpointError: the file is damaged or not supported.
        FileNotFoundError: the file is missing.
    """
    data = memoryview(map_file(path))
    with error_context(path):
        if data[:4] == b"PK\3\4":
            return read_zip(data, read_zip_directory(path))
        if data[257:262] == b"ustar":
            raise CheckpointError("a tar archive, from before PyTorch 0.2; load and save it with a newer one")
        return read_legacy(data)


# The zip format.


class DirectoryFile(io.FileIO):
    """A zip archive, from which zipfile reads the directory."""

    def read(self, size=-1):
        """Read bytes. Limits their number, because a directory takes ten times its size in memory."""
        if size > MAX_DIRECTORY_SIZE:
            raise CheckpointError(f"the directory of the zip archive exceeds {MAX_DIRECTORY_SIZE} bytes")
        return super().read(size)


def read_zip_directory(path):
    """Read the directory of a zip archive -> {name: zipfile.ZipInfo}."""
    try:
        with DirectoryFile(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeDecodeError, struct.error) as error:
        raise CheckpointError(f"{NOT_A_TORCH_FILE}: {error}") from None
    directory = {member.filename: member for member in members}
    if len(directory) < len(members):
        raise CheckpointError("two members of the zip archive have the same name")
    return directory


def read_zip(data, directory):
    """Read the object in a zip archive."""
    pickles = [name for name in directory if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise CheckpointError(f"{NOT_A_TORCH_FILE}: it has {len(pickles)} files data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in directory:
        raise CheckpointError("a TorchScript model; only its state_dict() is supported")
    members = {name: find_member(data, member) for name, member in directory.items()}
    if sum(map(len, members.values())) > len(data):  # many copies of the same bytes could fill the memory
        raise CheckpointError("members of the zip archive overlap")
    if members.get(f"{folder}byteorder", b"little") != b"little":
        raise CheckpointError(BIG_ENDIAN)
    prefix = f"{folder}data/"
    storages = {name.removeprefix(prefix): members[name] for name in members if name.startswith(prefix)}
    reader = TensorReader(storages)
    value, _ = parse_pickle(members[pickles[0]], reader.find_storage, reader.call, len(data))
    return value


def find_member(data, member):
    """Find a member of a zip archive -> its bytes, which follow its local header, names and extra field."""
    begin, size = member.header_offset, member.file_size
    header = data[begin : begin + 30] if begin >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\3\4":
        raise CheckpointError(f"there is no member {member.filename[:80]!r} where the zip archive says")
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != size or member.flag_bits & 1:
        raise CheckpointError(f"member {member.filename[:80]!r} is compressed or encrypted")
    start = begin + 30 + sum(struct.unpack("<HH", header[26:]))
    if start + size > len(data):
        raise CheckpointError(f"member {member.filename[:80]!r} is truncated")
    return data[start : start + size]


# The legacy format.


def read_legacy(data):
    """Read the object in the legacy format."""
    try:
        magic, position = parse_pickle(data)
    except CheckpointError:
        magic = None
    if magic != MAGIC_NUMBER:
        raise CheckpointError(NOT_A_TORCH_FILE)
    version, position = parse_next(data, position)
    system, position = parse_next(data, position)
    if version != VERSION:
        raise CheckpointError(f"the version of the format is not {VERSION}")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise CheckpointError(BIG_ENDIAN)

    start, ids = position, []
    _, position = parse_next(data, start, ids.append)  # the storages follow the object
    keys, position = parse_next(data, position)
    reader = TensorReader(find_legacy_storages(data, position, ids, keys))
    value, _ = parse_next(data, start, reader.find_storage, reader.call)
    return value


def parse_next(data, position, *functions):
    """Parse the pickle at a position -> (value, position of its end)."""
    value, size = parse_pickle(data[position:], *functions, file_size=len(data))
    return value, position + size


def find_legacy_storages(data, position, ids, keys):
    """Find the storages after the pickles -> {key: bytes}.

    Args:
        position: of the first storage.
        ids: the persistent ids in the object. They have the sizes of the storages.
        keys: the keys in the order of the storages.
    """
    named = {storage.key: storage for storage in map(parse_storage_id, ids) if storage is not None}
    storages = {}
    for key in keys if type(keys) is list else [None]:
        storage = named.get(key) if type(key) is str else None
        if storage is None or storage.kind not in ELEMENT_SIZES:
            raise CheckpointError("a storage has an unknown key or type")
        start = position + 8
        position = start + storage.n_elements * ELEMENT_SIZES[storage.kind]
        if position > len(data):
            raise CheckpointError("the file is truncated")
        if int.from_bytes(data[start - 8 : start], "little") != storage.n_elements:
            raise CheckpointError("the size of a storage differs from its size in the pickle")
        storages[key] = data[start:position]
    return storages
