"""Show the tokens of a text in color, or the merges that build them from bytes.

    python experiments/tokens.py "Rumpelstiltskin spins straw into gold"
    python experiments/tokens.py --merges "Rumpelstiltskin"

Byte-pair encoding starts with single bytes. It repeatedly merges the adjacent pair that comes first in the
list of pairs (vocab.bpe), until no adjacent pair is in the list. `encoder.py` does the same with a heap.
"""

import itertools
import sys

from helpers.token_labels import on_color, token_labels

from cli.exit_status import run
from encoder import PATTERN, get_encoder
from utils import find_model_dir

COLORS = (152, 223, 182, 194, 189)  # of the terminal's 256


def merge_steps(word, encoder):
    """Yield (tokens, next pair to merge), starting with the bytes of the word. The last pair is ()."""
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


def colorize(texts):
    """Join texts on alternating background colors. Outside a terminal, join them with spaces."""
    if not (hasattr(sys.stdout, "isatty") and sys.stdout.isatty()):
        return " ".join(texts)
    return "".join(map(on_color, texts, itertools.cycle(COLORS)))


def main(text: str, merges: bool = False, model_size: str = None):
    """Show the tokens of a text.

    Args:
        text: the text.
        merges: show every merge, from the bytes of each word to its tokens.
        model_size: the model that the tokenizer belongs to, as for gpt2.py.
    """
    folder = find_model_dir(model_size)
    encoder = get_encoder(folder.name, folder.parent)
    if not merges:
        ids = encoder.encode(text)
        print(colorize(token_labels(encoder, ids)))
        print(*ids)
        print(f"{len(ids)} tokens, {len(text)} characters, {len(text.encode('utf-8'))} bytes")
        return
    for word in PATTERN.findall(text):
        for tokens, pair in merge_steps(word, encoder):
            shown, merged = (token_labels(encoder, map(encoder.encoder.get, part)) for part in (tokens, pair))
            step = f"   {' + '.join(merged)}: pair {encoder.bpe_ranks[pair] + 1}" if pair else ""
            print(colorize(shown) + step)


if __name__ == "__main__":
    run(main)
