"""Write files of torch.save for the tests, without PyTorch: valid, malicious and broken ones.

The functions in lower case return a piece of a pickle, as bytes. loading/test_pytorch_checkpoint.py compares
the files of `pytorch_file` with torch.load.
"""

import io
import pickle
import zipfile

import numpy as np

STORAGE_TYPES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


# Pieces of a pickle.


def plain(value):
    """A plain value, without the header and the end."""
    return pickle.dumps(value, 2)[2:-1]


def name(module, qualname):
    """A function or class."""
    return f"c{module}\n{qualname}\n".encode()


def sequence(*items):
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def mapping(items):
    """A dict, from {text: piece}."""
    return b"}(" + b"".join(plain(key) + piece for key, piece in items.items()) + b"u"


def call(function, *arguments):
    """A call of a function."""
    return function + sequence(*arguments) + b"R"


def storage(kind="FloatStorage", key="0", n_elements=6, *parts):
    """The persistent id of a storage. Legacy ids have one more part."""
    fields = map(plain, (key, "cpu", n_elements, *parts))
    return sequence(plain("storage"), name("torch", kind), *fields) + b"Q"


def tensor(of_storage=None, offset=0, size=(2, 3), stride=(3, 1)):
    """A tensor."""
    view = map(plain, (offset, size, stride, False, {}))
    return call(name("torch._utils", "_rebuild_tensor_v2"), of_storage or storage(), *view)


# Files.


def zip_file(pieces, storages, folder="archive", **members):
    """A file in zip format.

    Args:
        pieces: the pickle, without its header and end.
        storages: {key: bytes}.
        folder: the folder in the archive.
        members: {file: content}; replaces files.
    """
    members = {"data.pkl": b"\x80\x02" + pieces + b".", "byteorder": b"little", **members, "version": b"3\n"}
    members |= {f"data/{key}": data for key, data in storages.items()}
    return zip_archive({f"{folder}/{file}": content for file, content in members.items()})


def zip_archive(members, compression=zipfile.ZIP_STORED):
    """A zip archive of {name: content}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return file.getvalue()


def legacy_file(pieces, storages, magic=MAGIC_NUMBER, version=1001, system=SYSTEM, keys=None):
    """A file in legacy format.

    Args:
        pieces: the pickle of the object, without its header and end.
        storages: {key: (number of elements, bytes)}.
        magic, version, system, keys: the other pickles.
    """
    keys = list(storages) if keys is None else keys
    pickles = [pickle.dumps(value, 2) for value in (magic, version, system)]
    pickles += [b"\x80\x02" + pieces + b".", pickle.dumps(keys, 2)]
    return b"".join(pickles) + b"".join(n.to_bytes(8, "little") + data for n, data in storages.values())


def pytorch_file(arrays, is_legacy=False):
    """A file with the state dict {name: array}."""
    pieces, storages = {}, {}
    for n, (key, array) in enumerate(arrays.items()):
        array = np.asarray(array, order="C")
        strides = tuple(step // array.itemsize for step in array.strides)
        parts = [None] if is_legacy else []
        of_storage = storage(STORAGE_TYPES[array.dtype.name], str(n), array.size, *parts)
        pieces[key] = tensor(of_storage, 0, array.shape, strides)
        storages[str(n)] = (array.size, array.tobytes())
    if is_legacy:
        return legacy_file(mapping(pieces), storages)
    return zip_file(mapping(pieces), {key: data for key, (_, data) in storages.items()})
