"""The model that the server answers with."""

from pathlib import Path
from typing import NamedTuple

from encoder import Encoder
from utils import DEMO_DIR, find_model_dir, load_encoder_hparams_and_params


class LoadedModel(NamedTuple):
    """A model and the name that clients call it by."""

    name: str
    encoder: Encoder
    hparams: dict
    params: dict

    @property
    def n_ctx(self):
        return len(self.params["wpe"])


def load_model(model_size=None):
    """Load a model as gpt2.py does. Its name is the last part of model_size: clients see no path.

    Raises:
        ValueError, OSError, CheckpointError: as `load_encoder_hparams_and_params`.
    """
    if model_size is None:
        model_size = "demo" if find_model_dir() == DEMO_DIR else "124M"
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    return LoadedModel(Path(model_size).absolute().name, encoder, hparams, params)
