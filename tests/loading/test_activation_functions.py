"""The exact GELU against math.erf and torch; names of one function give the same results."""

import math

import numpy as np
import pytest
from support.fit_exact_gelu import fit
from support.hub_models import edit_json

from gpt2 import gelu
from loading.activation_functions import COEFFICIENTS, CONSTANT, EXACT_GELU, TANH_GELU, exact_gelu
from loading.model_config import load_config
from loading.untrusted_files import CheckpointError

X = np.linspace(-12, 12, 100_001).astype(np.float32)


def test_the_exact_gelu_is_that_of_math_erf():
    expected = [0.5 * x * (1 + math.erf(x / 2**0.5)) for x in X.astype(np.float64)]
    np.testing.assert_allclose(exact_gelu(X), expected, rtol=0, atol=6e-7)
    assert exact_gelu(X).dtype == np.float32


def test_the_exact_gelu_is_that_of_torch():
    """The float32 result of torch itself has an error of up to 1.2e-6 at x = 3.4."""
    torch = pytest.importorskip("torch")
    exact = torch.nn.functional.gelu(torch.from_numpy(X).double()).numpy()
    np.testing.assert_allclose(exact_gelu(X), exact, rtol=0, atol=1e-6)
    theirs = torch.nn.functional.gelu(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(exact_gelu(X), theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("x", [0.0, -0.0, 1e-30, 1e4, -1e4, 1e19, -1e19])
def test_the_exact_gelu_of_extreme_numbers(x):
    assert exact_gelu(np.float32([x]))[0] == pytest.approx(max(0, x) if abs(x) > 1 else x / 2, rel=1e-6)


def test_the_coefficients_are_those_of_the_fit():
    coefficients, error = fit(n_points=5001)
    np.testing.assert_allclose([*COEFFICIENTS, CONSTANT], coefficients, rtol=2e-2)
    assert error < 8e-8


def test_names_mean_the_functions_of_transformers():
    activations = pytest.importorskip("transformers.activations")
    torch = pytest.importorskip("torch")
    for names, function in ((TANH_GELU, gelu), (EXACT_GELU, exact_gelu)):
        for name in names:
            theirs = activations.ACT2FN[name](torch.from_numpy(X)).numpy()
            np.testing.assert_allclose(function(X), theirs, rtol=1e-6, atol=2e-6)


def test_other_activation_functions_are_refused_by_name(hub_copy):
    path = hub_copy("float32") / "config.json"
    for name in ("relu", "quick_gelu", "gelu_10"):
        edit_json(path, activation_function=name)
        with pytest.raises(CheckpointError, match=f"activation_function '{name}' is not supported, only"):
            load_config(path)
