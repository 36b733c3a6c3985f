"""Read a sharded model: several files, and an index that names the file of each tensor.

For example, pytorch_model.bin.index.json names pytorch_model-00001-of-00002.bin.
"""

import re

from loading.untrusted_files import CheckpointError, read_json

MAX_SHARDS = 1000
SHARD_NAME = r"[\w-][\w.-]{0,200}"  # never a path to another folder


def read_shards(path, read_file):
    """Read all tensors of a sharded model -> {name: array}.

    Args:
        path: the index.
        read_file: a function that reads one shard: path -> {name: array}.

    Raises:
        CheckpointError: a file is damaged, not supported, or contradicts the index.
        FileNotFoundError: a file is missing.
    """
    shard_of = read_shard_names(path)
    tensors = {}
    for shard in list_shards(path):
        for name, tensor in read_file(path.with_name(shard)).items():
            if shard_of.get(name) != shard:
                raise CheckpointError(f"{path}: tensor {name} is in {shard}, but not according to this index")
            tensors[name] = tensor
    missing = shard_of.keys() - tensors.keys() - {"lm_head.weight"}  # which may be tied, and not stored
    if missing:
        raise CheckpointError(f"{path}: tensor {min(missing)} is not in {shard_of[min(missing)]}")
    return tensors


def list_shards(path):
    """The file names of all shards in an index, sorted."""
    return sorted(set(read_shard_names(path).values()))


def read_shard_names(path):
    """Read the index of a sharded model -> {tensor name: file name of its shard}."""
    shard_of = read_json(path).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise CheckpointError(f"{path}: it has no weight_map; to download the model again, delete its folder")
    ending = ".bin" if path.name.startswith("pytorch_model") else ".safetensors"
    for shard in shard_of.values():
        if type(shard) is not str or not re.fullmatch(SHARD_NAME + re.escape(ending), shard, re.ASCII):
            raise CheckpointError(f"{path}: {shard!r} is not the name of a {ending} file")
    if len(set(shard_of.values())) > MAX_SHARDS:
        raise CheckpointError(f"{path}: it names more than {MAX_SHARDS} files")
    return shard_of
