"""Code that several experiments share. Importing it makes the modules of the project importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the folder of gpt2.py
