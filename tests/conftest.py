"""What the tests share: the demo model, and NumPy set to complain."""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from utils import load_encoder_hparams_and_params

# A time limit for one example would fail on a slow machine.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(autouse=True)
def numpy_raises():
    """Overflow, division by zero and nan are errors (underflow is not: exp of a masked score is 0)."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.fixture(scope="session")
def demo():
    """The bundled model: encoder, hparams, params."""
    return load_encoder_hparams_and_params("demo")
