"""How a text is cut into tokens, in colours; and how one word is merged from its bytes, step by step.

    python experiments/tokens.py "Rumpelstiltskin spins straw into gold"
    python experiments/tokens.py --merges "Rumpelstiltskin"

Byte-pair encoding begins with single bytes and merges, again and again, the neighbours that stand first in
the list of pairs (vocab.bpe), until no neighbours stand there. `encoder.py` does the same with a heap.
"""

import itertools
import sys

from common import labels, on_colour

from cli import run
from encoder import PATTERN, get_encoder
from utils import find_model_dir

COLOURS = (152, 223, 182, 194, 189)  # of the terminal's 256


def merge_steps(word, encoder):
    """Yield (tokens, the pair to merge next) from the bytes on; at the end the pair is ()."""
    tokens = [encoder.byte_encoder[byte] for byte in word.encode("utf-8")]
    while pairs := [pair for pair in itertools.pairwise(tokens) if pair in encoder.bpe_ranks]:
        first = min(pairs, key=encoder.bpe_ranks.get)
        yield tokens, first
        tokens = merge(tokens, first)
    yield tokens, ()


def merge(tokens, pair):
    """Merge each occurrence of the pair: (["a", "b", "c"], ("a", "b")) -> ["ab", "c"]."""
    merged = []
    for token in tokens:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return merged


def in_colours(texts):
    """The texts, each on another background than its neighbours; outside a terminal, with spaces."""
    if not sys.stdout.isatty():
        return " ".join(texts)
    return "".join(map(on_colour, texts, itertools.cycle(COLOURS)))


def main(text: str, merges: bool = False, model_size: str = None):
    """Show how a text is cut into tokens.

    Args:
        text: the text.
        merges: show each step from the bytes of a word to its tokens, for all words of the text.
        model_size: the model whose tokens they are, as for gpt2.py.
    """
    folder = find_model_dir(model_size)
    encoder = get_encoder(folder.name, folder.parent)
    if not merges:
        ids = encoder.encode(text)
        print(in_colours(labels(encoder, ids)))
        print(*ids)
        print(f"{len(ids)} tokens, {len(text)} characters, {len(text.encode('utf-8'))} bytes")
        return
    for word in PATTERN.findall(text):
        for tokens, pair in merge_steps(word, encoder):
            shown, merged = (labels(encoder, map(encoder.encoder.get, part)) for part in (tokens, pair))
            step = f"   {' + '.join(merged)}: pair {encoder.bpe_ranks[pair] + 1}" if pair else ""
            print(in_colours(shown) + step)


if __name__ == "__main__":
    run(main)
