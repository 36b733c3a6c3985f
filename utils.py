"""Finding a model, downloading it if need be, and loading it."""

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from checkpoint import CheckpointError, read_tf_checkpoint
from encoder import END_OF_TEXT, get_encoder
from layout import put_in_fastest_order

MODEL_SIZES = ("124M", "355M", "774M", "1558M")
MODEL_FILES = (
    "hparams.json",
    "encoder.json",
    "vocab.bpe",
    "model.ckpt.index",
    "model.ckpt.data-00000-of-00001",
)
MODELS_URL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
MODELS_DIR = Path(__file__).resolve().parent / "models"
DEMO_DIR = MODELS_DIR / "demo"

# Seconds.
ANSWER_TIMEOUT = 5  # for the server to answer at all
READ_TIMEOUT = 30  # for the next bytes of a download

CHUNK_SIZE = 2**20  # bytes


def load_encoder_hparams_and_params(model_size=None, models_dir=None):
    """Load a model, after downloading it where that is needed and can be done.

    Args:
        model_size: "124M", "355M", "774M", "1558M", "demo", or the path of a folder with the MODEL_FILES.
            None means 124M where it is present or can be downloaded; else the demo, with a notice on stderr.
        models_dir: the folder for downloaded models; None means "models" beside this file.

    Returns:
        encoder: the tokenizer, an `encoder.Encoder`.
        hparams: {"n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"}, all int.
        params: {"wte": [n_vocab, n_embd], "wpe": [n_ctx, n_embd], "blocks": [...], "ln_f": {...}}, nested as
            `gpt2` takes them; float32, read-only, in the order of memory that `layout.py` finds best.

    Raises:
        ValueError: no such model size and no such folder, or models_dir is a file.
        FileNotFoundError: the model, or one of its files, is not there and could not be downloaded.
        CheckpointError: one of its files is damaged, or they do not belong together.
    """
    models_dir = Path(os.path.expanduser(models_dir or MODELS_DIR))
    if models_dir.exists() and not models_dir.is_dir():
        raise ValueError(f"models_dir: {models_dir} is not a folder")
    model_dir = find_model_dir(model_size, models_dir)
    hparams = load_hparams(model_dir / "hparams.json")
    try:
        encoder = get_encoder(model_dir.name, model_dir.parent)
    except ValueError as error:
        raise CheckpointError(error) from None
    n_vocab = len(encoder.encoder)
    if n_vocab != hparams["n_vocab"] or set(encoder.decoder) != set(range(n_vocab)):
        raise CheckpointError(
            f"{model_dir}: encoder.json does not have the ids 0 to n_vocab - 1 of hparams.json"
        )
    if n_vocab != 256 + len(encoder.bpe_ranks) + 1 or END_OF_TEXT not in encoder.encoder:
        raise CheckpointError(
            f"{model_dir}: encoder.json is not the 256 bytes, the merges of vocab.bpe, and {END_OF_TEXT}"
        )
    params = load_gpt2_params_from_tf_ckpt(model_dir / "model.ckpt", hparams)
    put_in_fastest_order(params, model_dir / MODEL_FILES[-1])
    return encoder, hparams, params


# Finding.


def find_model_dir(model_size, models_dir):
    """The folder with the model's files: which one, see `load_encoder_hparams_and_params`."""
    if model_size is None:
        try:
            return find_or_download("124M", models_dir)
        except FileNotFoundError as error:
            print(f"{error}. Using the tiny demo model instead.", file=sys.stderr)
            return DEMO_DIR
    if model_size == "demo":
        return DEMO_DIR
    if model_size in MODEL_SIZES:
        return find_or_download(model_size, models_dir)
    folder = Path(os.path.expanduser(model_size))
    if not model_size or not folder.is_dir():
        names = ", ".join((*MODEL_SIZES, "demo"))
        raise ValueError(f"there is no model {model_size!r}: give one of {names}, or the path of a folder")
    missing = ", ".join(missing_files(folder))
    if missing:
        raise FileNotFoundError(f"the folder {folder} is not a model in OpenAI's layout: it lacks {missing}")
    return folder


def find_or_download(model_size, models_dir):
    """The folder models_dir/model_size, complete; FileNotFoundError if it is not and cannot be made so."""
    model_dir = models_dir / model_size
    if missing_files(model_dir):
        try:
            download_gpt2_files(model_size, model_dir)
        except OSError as error:
            raise FileNotFoundError(
                f"{model_size} is not in {models_dir} and cannot be downloaded: {error}; "
                f"once that is put right, run again with --model_size={model_size}"
            ) from None
    return model_dir


def missing_files(model_dir):
    return [file for file in MODEL_FILES if not (model_dir / file).is_file()]


# Downloading. What only a download needs is imported there: it would slow every other start.


def download_gpt2_files(model_size, model_dir):
    """Download those of OpenAI's files of a model that are not in the folder `model_dir` yet.

    A file gets its name once it is complete; a failure leaves nothing of it. A bar on stderr counts bytes.

    Raises:
        OSError: the server cannot be reached or lacks the file, the connection breaks, the disk is full.
    """
    import requests

    model_dir = Path(model_dir)
    url = f"{MODELS_URL}/{model_size}"
    host = urlsplit(url).netloc
    try:
        wait_for_answer(f"{url}/{MODEL_FILES[0]}")
        for file in missing_files(model_dir):
            download_file(f"{url}/{file}", model_dir / file)
    except requests.HTTPError as error:
        raise OSError(f"{host} answers {error.response.status_code} for {error.response.url}") from None
    except requests.Timeout:
        raise OSError(f"{host} does not answer") from None
    except (requests.RequestException, ValueError) as error:  # ValueError: an address that makes no sense
        raise OSError(f"the connection to {host} failed ({type(error).__name__})") from None


def wait_for_answer(url):
    """Return as soon as the server answers; raise what requests raises, at the latest after ANSWER_TIMEOUT.

    The timeouts of requests start anew with each address and each byte, and leave out the look-up of names.
    So a thread asks, and is left to itself when the time is over.
    """
    import requests

    outcome = [requests.Timeout()]

    def ask():
        try:
            requests.head(url, timeout=2 * ANSWER_TIMEOUT)  # the thread's own, after ours
            outcome[0] = None
        except Exception as error:
            outcome[0] = error

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_TIMEOUT)
    if outcome[0]:
        raise outcome[0]


def download_file(url, path):
    """Download one file, under a name of this process's own until all of it is there."""
    import requests
    from tqdm import tqdm

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    headers = {"Accept-Encoding": "identity"}  # not compressed on the way: Content-Length is the file's
    timeout = (ANSWER_TIMEOUT, READ_TIMEOUT)
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
        if response.status_code != 200:
            raise requests.HTTPError(response=response)
        size = int(response.headers.get("Content-Length", 0))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "wb") as file, tqdm.wrapattr(file, "write", size or None, desc=path.name) as bar:
                for chunk in response.iter_content(CHUNK_SIZE):
                    bar.write(chunk)
            if size and part.stat().st_size != size:
                raise OSError(f"{url} broke off at {part.stat().st_size} of {size} bytes")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of a folder that is not empty
                path.parent.rmdir()


# Loading.


def load_hparams(path):
    """Read and check hparams.json."""
    try:
        hparams = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not isinstance(hparams, dict):
        raise CheckpointError(f"{path}: it is not an object of names and values")
    for name in ("n_vocab", "n_ctx", "n_embd", "n_head", "n_layer"):
        if type(hparams.get(name)) is not int or hparams[name] < 1:
            raise CheckpointError(f"{path}: {name} is not a whole number from 1 up")
    if hparams["n_embd"] % hparams["n_head"]:
        raise CheckpointError(f"{path}: n_embd is not a multiple of n_head")
    return hparams


def load_gpt2_params_from_tf_ckpt(tf_ckpt_path, hparams):
    """Read a TensorFlow checkpoint of GPT-2 and nest its variables as `gpt2` takes them.

    Args:
        tf_ckpt_path: the checkpoint's prefix, ".../model.ckpt".
        hparams: say what the shape of each variable must be.

    Raises:
        CheckpointError: a variable is missing, has another shape or type, or is one too many.
    """
    variables = read_tf_checkpoint(tf_ckpt_path)
    n_embd = hparams["n_embd"]

    def take(name, *shape):
        variable = variables.pop(f"model/{name}", None)
        if variable is None:
            raise CheckpointError(f"{tf_ckpt_path}: there is no variable model/{name}")
        if variable.shape != shape or variable.dtype != np.float32:
            found = f"{variable.dtype} {list(variable.shape)}"
            raise CheckpointError(f"{tf_ckpt_path}: model/{name} is {found}, not float32 {list(shape)}")
        return variable

    def norm(name):
        return {"g": take(f"{name}/g", n_embd), "b": take(f"{name}/b", n_embd)}

    def linear(name, n_in, n_out):  # stored as a convolution of width 1: [1, n_in, n_out]
        return {"w": take(f"{name}/w", 1, n_in, n_out)[0], "b": take(f"{name}/b", n_out)}

    def block(name):
        return {
            "ln_1": norm(f"{name}/ln_1"),
            "attn": {
                "c_attn": linear(f"{name}/attn/c_attn", n_embd, 3 * n_embd),
                "c_proj": linear(f"{name}/attn/c_proj", n_embd, n_embd),
            },
            "ln_2": norm(f"{name}/ln_2"),
            "mlp": {
                "c_fc": linear(f"{name}/mlp/c_fc", n_embd, 4 * n_embd),
                "c_proj": linear(f"{name}/mlp/c_proj", 4 * n_embd, n_embd),
            },
        }

    params = {
        "wte": take("wte", hparams["n_vocab"], n_embd),
        "wpe": take("wpe", hparams["n_ctx"], n_embd),
        "blocks": [block(f"h{layer}") for layer in range(hparams["n_layer"])],
        "ln_f": norm("ln_f"),
    }
    extra = sorted(name for name in variables if name.startswith("model/"))
    if extra:
        raise CheckpointError(f"{tf_ckpt_path}: {extra[0]} is not in a model of {hparams['n_layer']} layers")
    return params
