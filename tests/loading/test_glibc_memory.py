"""After a model is loaded, NumPy's temporaries reuse memory instead of faulting it in."""

import platform
import subprocess
import sys

import pytest
from support.paths import ROOT

COUNT_PAGE_FAULTS = """
import resource
import numpy as np
from utils import load_encoder_hparams_and_params

def page_faults():  # of 50 arrays of 16 MB, which are larger than any weight of the demo model
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.zeros(2**24, np.uint8)[:] = 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = page_faults()
load_encoder_hparams_and_params("demo")
print(before, page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
def test_loading_a_model_stops_page_faults():
    command = [sys.executable, "-c", COUNT_PAGE_FAULTS]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, result.stdout.split())
    assert after < before / 10
