"""Some of the cases of fuzz_checkpoint.py, which runs as many as one likes."""

import pytest
from fuzz_checkpoint import run_cases


@pytest.mark.parametrize("seed", range(5))
def test_damaged_files_are_read_or_refused(seed):
    outcomes = run_cases(1000, seed)
    assert outcomes["read"] > 100
    assert outcomes["refused"] > 500
