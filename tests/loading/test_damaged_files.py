"""Fuzz the loader: a damaged model is loaded or rejected, within limits of time and memory.

pytest tests/loading/test_damaged_files.py --fuzz_cases=200000
"""

import pytest
from support.checkpoint_fuzzer import run_cases

N_SEEDS = 5


@pytest.mark.filterwarnings("ignore:.*skipped", "ignore:tensors outside GPT-2 are skipped")
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_damaged_files_are_loaded_or_rejected(seed, request):
    n_cases = request.config.getoption("fuzz_cases") // N_SEEDS
    outcomes = run_cases(n_cases, seed)
    print(f"{n_cases} cases: {dict(outcomes)}")
    assert outcomes["loaded"] > n_cases / 10
    assert outcomes["rejected"] > n_cases / 2
