"""Draw the pictures of docs/how-gpt2-works.md from the values that its snippets compute.

    PYTHONPATH=.:tests:experiments python tests/data/make_pictures.py

It needs the packages of experiments/requirements.txt.
"""

from helpers.output_files import write_picture
from support.documents import WALK_THROUGH
from support.walk_through_pictures import make_pictures, run_snippets

for name, figure in make_pictures(run_snippets(WALK_THROUGH)):
    write_picture(WALK_THROUGH.parent / "pictures" / f"{name}.png", figure)
