"""Recognize files that are not supported, to say in a message what they are and what to do."""

import fnmatch

from loading.model_folder import DATA_FILE, WEIGHT_FILES
from loading.tokenizer_files import HUB_TOKENIZERS, OPENAI_TOKENIZER

CONVERT = f"use {WEIGHT_FILES[0]}, or convert it with save_pretrained of transformers"
WORD_PIECE = "a WordPiece tokenizer"
SENTENCE_PIECE = "a SentencePiece tokenizer"
ONLY_BPE = "only byte-level BPE is supported: use a model with tokenizer.json, or vocab.json and merges.txt"

# Patterns of file names -> what such a file is, and what to do.
OTHER_WEIGHTS = {
    "adapter_config.json": (
        "a LoRA adapter: merge it into its base model with merge_and_unload of peft, "
        "then save the model and its tokenizer with save_pretrained"
    ),
    "tf_model*.h5": f"weights of TensorFlow 2: {CONVERT}",
    "flax_model*.msgpack": f"weights of Flax: {CONVERT}",
    "*.gguf": f"quantized weights of llama.cpp: {CONVERT}",
    "*.onnx": f"a graph of ONNX: {CONVERT}",
    "rust_model.ot": f"weights of rust-bert: {CONVERT}",
    "model-*-of-*.safetensors": "one of several parts: model.safetensors.index.json must be there, too",
    "pytorch_model-*-of-*.bin": "one of several parts: pytorch_model.bin.index.json must be there, too",
    "*.safetensors": f"weights with another name: {CONVERT}",
    "*.pt": f"weights of PyTorch with another name: {CONVERT}",
    "*.pth": f"weights of PyTorch with another name: {CONVERT}",
}
OTHER_TOKENIZERS = {
    "vocab.txt": f"{WORD_PIECE}: {ONLY_BPE}",
    "spiece.model": f"{SENTENCE_PIECE}: {ONLY_BPE}",
    "sentencepiece*.model": f"{SENTENCE_PIECE}: {ONLY_BPE}",
    "tokenizer.model": f"{SENTENCE_PIECE}: {ONLY_BPE}",
    "*.tiktoken": f"a tokenizer of tiktoken: {ONLY_BPE}",
}
# The names to look for on a server, which cannot list its files.
NAMES_ON_SERVERS = (
    "adapter_config.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "model.onnx",
    "onnx/model.onnx",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


def explain_missing(missing, names):
    """Explain what a model has in place of its missing files -> "; it has ..." for each such file, or "".

    Args:
        missing: the names of the missing files.
        names: the names of the files that exist.
    """
    missing, names = set(missing), set(names) - set(WEIGHT_FILES)
    others = []
    if missing & {"config.json", DATA_FILE, *WEIGHT_FILES}:
        others.append(OTHER_WEIGHTS)
    if missing & {*OPENAI_TOKENIZER, *(file for files in HUB_TOKENIZERS for file in files)}:
        others.append(OTHER_TOKENIZERS)
    return "".join(find_other(patterns, names) for patterns in others)


def find_other(patterns, names):
    """The explanation of the first pattern that one of the names matches, or ""."""
    for pattern, explanation in patterns.items():
        for name in sorted(names):
            if fnmatch.fnmatchcase(name, pattern):
                return f"; it has {name}, {explanation}"
    return ""
