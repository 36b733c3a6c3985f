"""Measure the variety of the demo model's text. The figures are for its model card.

python -m models.make_demo.measure_text
"""

import argparse
import itertools
import json
import re
from pathlib import Path

import numpy as np
from tokenizers import ByteLevelBPETokenizer

from models.make_demo.grammar import HERE, read_rules
from models.make_demo.make_text import TRAINING, read_documents

N_WINDOW = 40


def window_hashes(ids):
    """Return a 64-bit hash of each window of 40 tokens. ids [n_seq] -> [n_seq - 39], or none."""
    factors = np.random.default_rng(0).integers(2**63, size=N_WINDOW, dtype=np.uint64) | np.uint64(1)
    windows = np.lib.stride_tricks.sliding_window_view(np.array(ids, dtype=np.uint64), N_WINDOW)
    return windows @ factors
