"""Convert a model to the format of an engine: python benchmarks/conversion.py NAME FOLDER CONVERTED

FOLDER has OpenAI's five files. The engine NAME, one of PEERS, finds its weights in the folder CONVERTED.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from peers import PEERS

from utils import load_encoder_hparams_and_params


def write_transformers(folder, converted, precision):
    """Write Hugging Face's config.json and model.safetensors."""
    import torch
    from support.transformers_model import reference_model

    _, hparams, params = load_encoder_hparams_and_params(folder)
    reference_model(params, hparams).to(getattr(torch, precision)).save_pretrained(converted)


def write_ctranslate2(folder, converted, precision):
    """Write CTranslate2's model.bin, from Hugging Face's files."""
    import ctranslate2

    source = Path(converted).with_name("source")  # `convert` empties its folder
    write_transformers(folder, source, "float32")
    (source / "vocab.json").write_bytes(Path(folder, "encoder.json").read_bytes())
    (source / "merges.txt").write_bytes(Path(folder, "vocab.bpe").read_bytes())
    converter = ctranslate2.converters.TransformersConverter(str(source))
    converter.convert(str(converted), quantization=precision, force=True)
    shutil.rmtree(source)


def write_gguf(folder, converted, precision):
    """Write model.gguf for llama.cpp, without a vocabulary."""
    import gguf

    types = {"float32": "F32", "float16": "F16", "q8_0": "Q8_0"}
    _, hparams, params = load_encoder_hparams_and_params(folder)
    writer = gguf.GGUFWriter(Path(converted, "model.gguf"), "gpt2")
    writer.add_block_count(hparams["n_layer"])
    writer.add_context_length(hparams["n_ctx"])
    writer.add_embedding_length(hparams["n_embd"])
    writer.add_feed_forward_length(4 * hparams["n_embd"])
    writer.add_head_count(hparams["n_head"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(hparams["n_vocab"])
    parts = {"token_embd": {"w": params["wte"].T}, "position_embd": {"g": params["wpe"]}}
    parts["output_norm"] = params["ln_f"]
    for layer, block in enumerate(params["blocks"]):
        parts[f"blk.{layer}.attn_norm"] = block["ln_1"]
        parts[f"blk.{layer}.attn_qkv"] = block["attn"]["c_attn"]
        parts[f"blk.{layer}.attn_output"] = block["attn"]["c_proj"]
        parts[f"blk.{layer}.ffn_norm"] = block["ln_2"]
        parts[f"blk.{layer}.ffn_up"] = block["mlp"]["c_fc"]
        parts[f"blk.{layer}.ffn_down"] = block["mlp"]["c_proj"]
    for name, part in parts.items():
        for kind, array in part.items():
            quantization = gguf.GGMLQuantizationType[types[precision if kind == "w" else "float32"]]
            array = np.ascontiguousarray(array.T if kind == "w" else array)  # [n_in, n_out] -> [n_out, n_in]
            quantized = gguf.quants.quantize(array, quantization)
            suffix = "bias" if kind == "b" else "weight"
            writer.add_tensor(f"{name}.{suffix}", quantized, raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_ordered(folder, converted, precision):
    """Load the model, which stores its weights in this project's memory order beside it."""
    load_encoder_hparams_and_params(folder)


WRITERS = {"transformers": write_transformers, "CTranslate2": write_ctranslate2, "llama.cpp": write_gguf}


def main(name, folder, converted):
    peer, precision = PEERS[name]
    WRITERS.get(peer.engine, write_ordered)(folder, converted, precision)


if __name__ == "__main__":
    main(*sys.argv[1:])
