"""Verify the files of a model one by one: formats, settings, and the checksums of a TensorFlow checkpoint.

The downloader calls this before a file gets its final name. `python utils.py MODEL --verify` calls it later.
"""

from encoder import Encoder
from loading.model_config import load_config, load_hparams
from loading.model_folder import DATA_FILE, INDEX_ENDING
from loading.safetensors import read_safetensors_header
from loading.shard_index import list_shards
from loading.tf_checkpoint import check_tf_tensors, read_index
from loading.tokenizer_files import make_encoder, parse_tokenizer, read_vocabulary
from loading.untrusted_files import CheckpointError, error_context, read_json


class DamagedTensor(CheckpointError):
    """A tensor does not match its checksum. All bytes before its first byte, `offset`, are good."""

    def __init__(self, message, offset):
        super().__init__(message)
        self.offset = offset


def check_file(file, path):
    """Raise CheckpointError unless the file at `path` is valid and fits the other files of its folder.

    Args:
        file: the name that the file has in a complete model, such as "vocab.bpe".
        path: where the file is now. A download in progress has a temporary name.
    """
    if file == "hparams.json":
        load_hparams(path)
    elif file == "config.json":
        load_config(path)
    elif file in ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json"):
        read_json(path)
    elif file in ("encoder.json", "vocab.json", "added_tokens.json"):
        read_vocabulary(path)
    elif file == "vocab.bpe":
        encoder = make_encoder(path.with_name("encoder.json"), path)
        if len(encoder.encoder) != 256 + len(encoder.bpe_ranks) + 1:
            raise CheckpointError(f"{path}: the number of merges does not match encoder.json")
    elif file == "merges.txt":
        make_encoder(path.with_name("vocab.json"), path)
    elif file == "tokenizer.json":
        tokenizer = read_json(path)
        with error_context(path):
            Encoder(*parse_tokenizer(tokenizer))
    elif file == "model.ckpt.index":
        read_index(path)
    elif file == DATA_FILE:
        check_tensors(path.with_name("model.ckpt.index"), path)
    elif file.endswith(INDEX_ENDING):
        list_shards(path)
    elif file.endswith(".safetensors"):
        read_safetensors_header(path)
    elif file.endswith(".bin"):
        from loading.pytorch_checkpoint import read_pytorch_tensors  # on use: a slow import

        read_pytorch_tensors(path)


def check_tensors(index_path, path):
    """Raise DamagedTensor unless every tensor in the data file matches its checksum in the index.

    Takes some seconds per gigabyte, with a progress bar on stderr. Also raises as `check_tf_tensors` does.
    """
    from tqdm import tqdm  # imported on use, to keep the start fast

    size = path.stat().st_size
    with tqdm(total=size, desc="Verifying", unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for name, offset, n_bytes, is_good in check_tf_tensors(index_path, path):
            if not is_good:
                raise DamagedTensor(f"{path}: tensor {name} does not match its checksum", offset)
            bar.update(n_bytes)
