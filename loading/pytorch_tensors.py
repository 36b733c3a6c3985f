"""Rebuild PyTorch's tensors as NumPy arrays, from the calls in a pickle.

A storage is an array with one axis. A tensor is a view of a storage: offset, size and stride, in elements:

    torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)

Instead of a storage, the pickle has a persistent id: ("storage", type, key, device, number of elements).
"""

import math
from dataclasses import dataclass

import numpy as np

from loading.dtype_conversion import MAX_RANK, NUMPY_DTYPES, to_float32
from loading.pickle_parser import Name, make_call
from loading.untrusted_files import CheckpointError

# The type of a storage -> a key of dtype_conversion.NUMPY_DTYPES.
DTYPES = {
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
# Unsupported types of storages -> bytes of an element, to find the next storage in the legacy format.
OTHER_SIZES = {
    "torch.CharStorage": 1,
    "torch.ShortStorage": 2,
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
    "torch.QInt8Storage": 1,
    "torch.QUInt8Storage": 1,
    "torch.QInt32Storage": 4,
    "torch.storage.UntypedStorage": 1,
}
ELEMENT_SIZES = {kind: np.dtype(NUMPY_DTYPES[dtype]).itemsize for kind, dtype in DTYPES.items()} | OTHER_SIZES


@dataclass(eq=False)
class Storage:
    """A storage in a pickle, or the part of it from `first`, in elements. Only legacy files have parts."""

    kind: str
    key: str
    n_elements: int
    first: int
    n_part: int


def parse_storage_id(persistent_id):
    """Parse the persistent id of a storage -> Storage; None for any other id. Raises CheckpointError."""
    match persistent_id:
        case (str("storage"), Name(kind), str(key), _, int(n_elements), *part):
            first, n_part = 0, n_elements
        case _:
            return None
    match part:
        case [(_, int(first), int(n_part))]:
            pass
    if first < 0 or n_part < 0 or first + n_part > n_elements:
        raise CheckpointError("a part of a storage is outside of it")
    return Storage(kind, key, n_elements, first, n_part)


class TensorReader:
    """Rebuild tensors during `parse_pickle`, which calls `find_storage` and `call`."""

    def __init__(self, storages):
        self.storages = storages  # {key: bytes}
        self.arrays = {}  # {(type, key): array with one axis}
        self.tensors = {}  # {(type, key, offset, size, stride): tensor}

    def find_storage(self, persistent_id):
        """Parse a persistent id -> Storage; the id itself if its type is not supported."""
        storage = parse_storage_id(persistent_id)
        return persistent_id if storage is None or storage.kind not in DTYPES else storage

    def call(self, function, arguments):
        """Rebuild a tensor or a torch.Size. Keep any other call as a Call."""
        match function, arguments:
            case Name("torch._tensor._rebuild_from_type_v2"), (inner_function, _, inner_arguments, _):
                function, arguments = inner_function, inner_arguments
        match function, arguments:
            case Name("torch._utils._rebuild_tensor"), (Storage(), _, _, _):
                return self.rebuild_tensor(*arguments)
            case Name("torch._utils._rebuild_tensor_v2"), (Storage(), _, _, _, _, _):
                return self.rebuild_tensor(*arguments[:4])
            case Name("torch._utils._rebuild_parameter"), (np.ndarray() as tensor, _, _):
                return tensor
            case Name("torch._utils._rebuild_parameter_with_state"), (np.ndarray() as tensor, _, _, _):
                return tensor
            case Name("torch.Size"), (tuple() as size,):
                return size
        return make_call(function, arguments)

    def rebuild_tensor(self, storage, offset, size, stride):
        """Make a view of a storage. Equal views are the same array."""
        check_view(storage, offset, size, stride)
        offset += storage.first
        key = (storage.kind, storage.key, offset, size, stride)
        if key not in self.tensors:
            array = self.find_array(storage)
            step = array.itemsize
            strides = [n * step for n in stride]
            try:
                self.tensors[key] = np.ndarray(size, array.dtype, array, offset * step, strides)
            except (ValueError, OverflowError):
                raise CheckpointError("the shape of a tensor is too large for NumPy") from None
        return self.tensors[key]

    def find_array(self, storage):
        """Find the elements of a whole storage -> a read-only array with one axis."""
        key, dtype = (storage.kind, storage.key), DTYPES[storage.kind]
        data = self.storages.get(storage.key)
        if data is None or len(data) != storage.n_elements * ELEMENT_SIZES[storage.kind]:
            raise CheckpointError(f"storage {storage.key[:80]!r} is missing or has another size")
        if key not in self.arrays:
            array = to_float32(np.ndarray(storage.n_elements, NUMPY_DTYPES[dtype], data), dtype)
            array.flags.writeable = False
            self.arrays[key] = array
        return self.arrays[key]


def check_view(storage, offset, size, stride):
    """Raise CheckpointError unless a view is inside its storage."""
    if type(size) is not tuple or type(stride) is not tuple or not len(size) == len(stride) <= MAX_RANK:
        raise CheckpointError(f"size and stride of a tensor are not two tuples of up to {MAX_RANK} integers")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise CheckpointError("offset, size or stride of a tensor are not non-negative integers")
    n_elements = math.prod(size)
    end = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1
    if n_elements > 0 and end > storage.n_part:
        raise CheckpointError("a tensor ends after its storage")
    if n_elements > storage.n_part:
        raise CheckpointError("an expanded tensor, larger than its storage, is not supported; clone() it")
