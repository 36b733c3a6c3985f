"""rounding.py: its float64 states equal torch's, and its errors are of the same order as torch's."""

import numpy as np
import pytest
import rounding
import torch
from support.experiment_helpers import PROMPT, run_reference


def test_float64_states_equal_torch(model, ids, reference):
    states = rounding.all_states(ids, rounding.to_float64(model["params"]), model["n_head"])
    double = reference.double()
    output = run_reference(double, ids, output_hidden_states=True)
    *theirs, _ = output.hidden_states  # transformers applies ln_f to the last one
    for ours, state in zip(states.values(), theirs, strict=False):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, state[0], atol=1e-12)
    np.testing.assert_allclose(states["logits"], output.logits[0], atol=1e-12)


def test_printed_error_is_the_error_of_float32(run_experiment, ids, reference):
    """It is between a hundredth and ten times torch's error."""
    status, stdout, stderr = run_experiment("rounding.py", "--model_size=demo", PROMPT)
    assert (status, stderr) == (0, "")
    *_, logits, _ = stdout.splitlines()
    exact = run_reference(reference.double(), ids).logits
    error = run_reference(reference.float(), ids).logits - exact
    size, rms, largest, relative = (float(number) for number in logits.split()[1:])
    expected_rms = torch.sqrt(torch.mean(error**2)).item()
    assert size == pytest.approx(torch.sqrt(torch.mean(exact**2)).item(), rel=1e-3)
    assert 0.01 * expected_rms < rms < 10 * expected_rms
    assert 0.01 * error.abs().max() < largest < 10 * error.abs().max()
    assert relative == pytest.approx(rms / size, rel=0.01)
