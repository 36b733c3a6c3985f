"""The code behind each panel, read from the files of this project."""

import inspect
import textwrap
from pathlib import Path

import gpt2
from encoder import Encoder
from generation.min_p_and_repetition import keep_min_p

PANELS = {
    "tokens": [Encoder.encode_ordinary, Encoder.bpe],
    "attention": [gpt2.mha, gpt2.attention],
    "layers": [gpt2.transformer_block, gpt2.layer_norm, gpt2.linear],
    "next": [gpt2.sample, gpt2.apply_temperature, gpt2.keep_top_k, gpt2.keep_top_p, keep_min_p, gpt2.draw],
}


def source_code():
    """{panel: [{"file": its name, "line": of the first line, "code": text}]}."""
    return {panel: [lines_of(function) for function in functions] for panel, functions in PANELS.items()}


def lines_of(function):
    lines, first = inspect.getsourcelines(function)
    name = Path(inspect.getsourcefile(function)).name
    return {"file": name, "line": first, "code": textwrap.dedent("".join(lines))}
