"""Find a model, download it if necessary, and load it. `python utils.py MODEL` downloads it in advance."""

import os
import re
import sys
from pathlib import Path

from loading.file_verification import check_file
from loading.model_config import MODEL_SIZES
from loading.model_folder import load_folder, missing_files, model_files
from loading.unsupported_files import explain_missing
from loading.weight_order import check_finite, check_ordered_file, order_weights

HUB_MODEL = r"hf:([\w-][\w.-]*/)?[\w-][\w.-]*"  # before @REVISION; never a path outside models_dir
OPENAI_ON_HUB = r"hf:(openai-community/)?gpt2(-medium|-large|-xl)?(@.+)?"
MODELS_DIR = Path(__file__).resolve().parent / "models"
DEMO_DIR = MODELS_DIR / "demo"


def load_encoder_hparams_and_params(model_size=None, models_dir=None, mirror=None, offline=False):
    """Load a model; download it first if necessary.

    A model in the cache of the Hugging Face hub's own tools is used from there. HF_ENDPOINT replaces the
    address of the hub, and HF_TOKEN gives access to private and gated models.

    Args:
        model_size: one of
            "124M", "355M", "774M", "1558M": the models of OpenAI;
            "demo": the bundled demo model;
            "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION": a GPT-2 on the Hugging Face hub, such as
                "hf:distilbert/distilgpt2"; REVISION is a branch, tag or commit;
            a path: a model folder in OpenAI's or Hugging Face's layout, see `loading/model_folder.py`;
            None: 124M if it is present or can be downloaded, otherwise demo, with a notice on stderr.
        models_dir: the folder for downloaded models; None is "models" beside this file.
        mirror: the URL of a server to download from, with the paths of OpenAI's storage or of the hub; None
            is the environment variable GPT2_MIRROR, if it is set.
        offline: never use the network. HF_HUB_OFFLINE=1 does the same.

    Returns:
        encoder: the tokenizer, an `encoder.Encoder`.
        hparams: {"n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"}, all int.
        params: {"wte": [n_vocab, n_embd], "wpe": [n_ctx, n_embd], "blocks": [...], "ln_f": {...}}, nested as
            `gpt2` takes them; and "lm_head": [n_vocab, n_embd] if it differs from wte. The arrays are
            float32, read-only, and in the memory order of `loading/weight_order.py`.

    Raises:
        ValueError: model_size is unknown, mirror or HF_ENDPOINT is not a URL, HF_TOKEN is malformed, or
            models_dir is not a folder.
        FileNotFoundError: the model is absent or incomplete, and cannot be downloaded.
        CheckpointError: a file is damaged, the files do not match each other, or the model is not a GPT-2.
    """
    folder = find_model_dir(model_size, models_dir, mirror, offline)
    encoder, hparams, params, weight_paths = load_folder(folder)
    order_weights(params, weight_paths)
    if is_openai_model(model_size):
        encoder.allowed_special = frozenset()  # as in OpenAI's code
    return encoder, hparams, params


def is_openai_model(model_size):
    """Whether the name is that of one of OpenAI's four models, wherever its files come from."""
    name = "124M" if model_size is None else str(model_size)
    return name in MODEL_SIZES or re.fullmatch(OPENAI_ON_HUB, name) is not None


def find_model_dir(model_size=None, models_dir=None, mirror=None, offline=False):
    """Find the folder of a model; download it if necessary. See `load_encoder_hparams_and_params`."""
    models_dir = Path(os.path.expanduser(models_dir or MODELS_DIR))
    if os.path.exists(models_dir) and not os.path.isdir(models_dir):
        raise ValueError(f"models_dir: {models_dir} is not a folder")
    if model_size is None:
        try:
            return find_or_download("124M", models_dir, mirror, offline)
        except FileNotFoundError as error:
            print(f"{error}. Falling back to the bundled demo model.", file=sys.stderr)
            return DEMO_DIR
    model_size = str(model_size)  # it may be a Path
    if model_size == "demo":
        return DEMO_DIR
    hub_name, at, revision = model_size.partition("@")
    if model_size in MODEL_SIZES or re.fullmatch(HUB_MODEL, hub_name, re.ASCII):
        if at:
            from download.hub_names import check_revision

            check_revision(revision)
        return find_or_download(model_size, models_dir, mirror, offline)
    folder = Path(os.path.expanduser(model_size))
    if not model_size or not folder.is_dir():
        may_have_password = "://" in model_size or re.match("hf:.*:", model_size)
        shown = "that looks like a URL" if may_have_password else repr(model_size)
        if folder.is_file():
            shown += ", which is a file"
        raise ValueError(
            f"unknown model {shown}: use {', '.join(MODEL_SIZES)}, demo, the path of a model folder, "
            "or hf:OWNER/NAME for a model on the Hugging Face hub, such as hf:distilbert/distilgpt2"
        )
    if missing := missing_files(folder):
        reason = f"the folder {folder} is not a complete model: it lacks {', '.join(missing)}"
        raise FileNotFoundError(reason + explain_missing(missing, os.listdir(folder)))
    return folder


def find_or_download(model, models_dir, mirror=None, offline=False):
    """Find the complete folder of a model in models_dir or in the hub's cache, else download it.

    Raises:
        FileNotFoundError: the model is absent and cannot be downloaded.
    """
    from download.hub_cache import find_in_cache
    from download.hub_names import folder_name
    from download.hub_settings import offline_variable

    model_dir = models_dir / folder_name(model)
    if not missing_files(model_dir):
        return model_dir
    if folder := find_in_cache(model):
        return folder
    if offline or offline_variable():
        hint = f"to download it: python utils.py {model}"
        if offline_variable():
            hint = f"{offline_variable()} forbids to download it"
        raise FileNotFoundError(f"{model} is not in {models_dir}, nor in the cache of the hub; {hint}")
    try:
        download_gpt2_files(model, model_dir, mirror)
    except OSError as error:
        reason = f"{model} is not in {models_dir} and cannot be downloaded: {error}"
        raise FileNotFoundError(f"{reason}; to retry: --model_size={model}") from None
    return model_dir


def download_gpt2_files(model_size, model_dir, mirror=None):
    """Download the files of a model that are missing from the folder model_dir; resume interrupted downloads.

    Args:
        model_size: "124M", "355M", "774M", "1558M", "hf:OWNER/NAME" or "hf:OWNER/NAME@REVISION".
        mirror: see `load_encoder_hparams_and_params`.

    Raises:
        ValueError: mirror or HF_ENDPOINT is not a URL, or HF_TOKEN is malformed.
        OSError: a network or disk error, or a damaged file. The next call resumes the download.
    """
    from download.model_download import download_model  # imports requests, which loading does not need

    download_model(model_size, model_dir, mirror or os.environ.get("GPT2_MIRROR"))


def verify_files(folder, published):
    """Verify the files of a model by all known checksums. This takes some seconds per gigabyte.

    Args:
        published: {file: `download.published_checksums.Published`}.

    Yields:
        (file, result) for each file that is valid.

    Raises:
        CheckpointError: a file is damaged, differs from the published one, or has values that are not finite.
    """
    from download.published_checksums import check_published

    for file in model_files(folder):
        check_file(file, folder / file)
        if file in published:
            check_published(folder / file, folder / file, published[file])
        has_sha256 = file in published and published[file].sha256 is not None
        yield file, "OK (published SHA-256)" if has_sha256 else "OK"
    _, _, params, weight_paths = load_folder(folder)
    check_finite(params, weight_paths[0])
    check_ordered_file(params, weight_paths)


def main(model_size: str, models_dir: str = None, mirror: str = None, verify: bool = False):
    """Download a model in advance, or verify one that is on disk.

    Args:
        model_size: 124M, 355M, 774M, 1558M, demo, hf:OWNER/NAME or hf:OWNER/NAME@REVISION for a GPT-2 on the
            Hugging Face hub, or the path of a model folder.
        models_dir: the folder for downloaded models; the default is "models" beside utils.py.
        mirror: the URL of a server to download from, with the paths of OpenAI's storage or of the hub; the
            default is the environment variable GPT2_MIRROR. Files from a mirror are not compared with the
            published checksums.
        verify: verify the files on disk; download nothing.
    """
    mirror = mirror or os.environ.get("GPT2_MIRROR")
    folder = find_model_dir(model_size, models_dir, mirror, offline=verify)
    if verify:
        from download.published_checksums import PUBLISHED

        for file, result in verify_files(folder, {} if mirror else PUBLISHED.get(model_size, {})):
            print(f"{file}: {result}")
    else:
        load_encoder_hparams_and_params(str(folder.absolute()))
        print(f"{model_size} is in {folder}")


if __name__ == "__main__":
    from cli.exit_status import run

    run(main)
