"""Finding a model, downloading it if need be, and loading it; `python utils.py MODEL` does it in advance."""

import os
import re
import sys
from pathlib import Path

import numpy as np

from files import CheckpointError
from formats import check_file, files_of, load_folder, missing_files
from layout import check_ordered_copy, find_arrays, put_in_fastest_order

MODEL_SIZES = ("124M", "355M", "774M", "1558M")
HUB_MODEL = r"hf:([\w-][\w.-]*/)?[\w-][\w.-]*"  # neither the owner nor the name reaches out of a folder
MODELS_DIR = Path(__file__).resolve().parent / "models"
DEMO_DIR = MODELS_DIR / "demo"


def load_encoder_hparams_and_params(model_size=None, models_dir=None, mirror=None, offline=False):
    """Load a model, after downloading it where that is needed and can be done.

    Args:
        model_size: "124M", "355M", "774M", "1558M"; "demo"; "hf:" and the name of a GPT-2 on the Hugging Face
            hub, as in "hf:distilbert/distilgpt2"; or the path of a folder with a model, in OpenAI's layout or
            in Hugging Face's (config.json, model.safetensors, tokenizer.json or vocab.json and merges.txt).
            None means 124M where it is present or can be downloaded; else the demo, with a notice on stderr.
        models_dir: the folder for downloaded models; None means "models" beside this file.
        mirror: the address of a server to download from, with the file names of OpenAI's or of the hub; None
            means that in the environment variable GPT2_MIRROR, if there is one.
        offline: never touch the network.

    Returns:
        encoder: the tokenizer, an `encoder.Encoder`.
        hparams: {"n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"}, all int.
        params: {"wte": [n_vocab, n_embd], "wpe": [n_ctx, n_embd], "blocks": [...], "ln_f": {...}}, nested as
            `gpt2` takes them; float32, read-only, in the order of memory that `layout.py` finds best. Where a
            model's logits do not come from wte there is "lm_head": [n_vocab, n_embd], too.

    Raises:
        ValueError: no such model size and no such folder, no such mirror, or models_dir is a file.
        FileNotFoundError: the model, or one of its files, is not there and could not be downloaded.
        CheckpointError: one of its files is damaged, or they do not belong together, or are no GPT-2.
    """
    folder = find_model_dir(model_size, models_dir, mirror, offline)
    encoder, hparams, params, weight_paths = load_folder(folder)
    put_in_fastest_order(params, weight_paths)
    return encoder, hparams, params


def find_model_dir(model_size=None, models_dir=None, mirror=None, offline=False):
    """The folder with the model's files: which one, see `load_encoder_hparams_and_params`."""
    models_dir = Path(os.path.expanduser(models_dir or MODELS_DIR))
    if os.path.exists(models_dir) and not os.path.isdir(models_dir):
        raise ValueError(f"models_dir: {models_dir} is not a folder")
    if model_size is None:
        try:
            return find_or_download("124M", models_dir, mirror, offline)
        except FileNotFoundError as error:
            print(f"{error}. Using the tiny demo model instead.", file=sys.stderr)
            return DEMO_DIR
    model_size = str(model_size)  # or a Path
    if model_size == "demo":
        return DEMO_DIR
    if model_size in MODEL_SIZES or re.fullmatch(HUB_MODEL, model_size, re.ASCII):
        return find_or_download(model_size, models_dir, mirror, offline)
    folder = Path(os.path.expanduser(model_size))
    if not model_size or not folder.is_dir():
        names = ", ".join((*MODEL_SIZES, "demo"))
        raise ValueError(
            f"there is no model {model_size!r}: give one of {names}, the path of a folder, "
            "or hf: and a name on the Hugging Face hub, such as hf:distilbert/distilgpt2"
        )
    missing = ", ".join(missing_files(folder))
    if (folder / "pytorch_model.bin").is_file() and "model.safetensors" in missing:
        missing += (
            "; pytorch_model.bin is a pickle, which could run anything and is never loaded, "
            "but transformers' save_pretrained makes a model.safetensors of it"
        )
    if missing:
        raise FileNotFoundError(f"the folder {folder} is not a whole model: it lacks {missing}")
    return folder


def find_or_download(model, models_dir, mirror=None, offline=False):
    """The folder of a model in models_dir, complete; FileNotFoundError if it is not and cannot be made so."""
    model_dir = models_dir / re.sub("[:/]", "--", model)
    if not missing_files(model_dir):
        return model_dir
    if offline:
        raise FileNotFoundError(f"{model} is not in {models_dir}; `python utils.py {model}` downloads it")
    from sources import download_gpt2_files  # here, where it slows no other start

    try:
        download_gpt2_files(model, model_dir, mirror or os.environ.get("GPT2_MIRROR"))
    except OSError as error:
        raise FileNotFoundError(
            f"{model} is not in {models_dir} and cannot be downloaded: {error}; "
            f"once that is put right, run again with --model_size={model}"
        ) from None
    return model_dir


def verify_files(folder, known):
    """Check all files of a model by what checksums there are, which takes some seconds for each gigabyte.

    Args:
        known: what has been published of them, see `sources.PUBLISHED`.

    Yields:
        (file, what is right about it).

    Raises:
        CheckpointError: a file is damaged, or not the published one, or has values that are no numbers.
    """
    from sources import check_published

    for file in files_of(folder):
        check_file(file, folder / file)
        if file in known:
            check_published(folder / file, folder / file, known[file])
        has_hash = file in known and known[file][1] is not None
        yield file, "as published" if has_hash else "in order"
    _, _, params, weight_paths = load_folder(folder)
    for tree, name, _ in find_arrays(params):
        if not np.isfinite(tree[name]).all():
            raise CheckpointError(f"{weight_paths[0]}: there are values of {name} that are no finite numbers")
    check_ordered_copy(params, weight_paths)


def main(model_size: str, models_dir: str = None, mirror: str = None, verify: bool = False):
    """Download a model ahead of time, or check the files of one that is there.

    Args:
        model_size: 124M, 355M, 774M or 1558M; hf: and the name of a GPT-2 on the Hugging Face hub; demo; or
            the path of a folder with a model.
        models_dir: where the downloaded models are; by default the folder "models" beside utils.py.
        mirror: the address of a server to download from, with the file names of OpenAI's or of the hub; by
            default that in the environment variable GPT2_MIRROR, if there is one. Files from a mirror are not
            compared with what is known of the published ones.
        verify: check the files that are there, and download nothing.
    """
    mirror = mirror or os.environ.get("GPT2_MIRROR")
    folder = find_model_dir(model_size, models_dir, mirror, offline=verify)
    if verify:
        from sources import PUBLISHED

        for file, finding in verify_files(folder, {} if mirror else PUBLISHED.get(model_size, {})):
            print(f"{file}: {finding}")
    else:
        load_encoder_hparams_and_params(str(folder.absolute()))
        print(f"{model_size} is in {folder}")


if __name__ == "__main__":
    from cli import run

    run(main)
