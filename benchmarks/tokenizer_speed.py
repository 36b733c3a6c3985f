"""The speed of tokenizers, all with OpenAI's vocabulary of GPT-2 and one thread.

    python benchmarks/tokenizer_speed.py NAME TEXT_FILE

encodes a text with the tokenizer NAME, one of TOKENIZERS. It starts with empty caches. The process prints
{"mb_per_s": the speed, "sha256": the hash of the ids}.
"""

import hashlib
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np
import regex
from random_model import ROOT

from encoder import PATTERN, bytes_to_unicode, get_encoder

FOLDER = ROOT / "tests" / "data" / "gpt2"
VOCABULARY, MERGES = FOLDER / "encoder.json", FOLDER / "vocab.bpe"
MB = 1e6


def this_project():
    return get_encoder(FOLDER.name, FOLDER.parent).encode


class PicoGPTEncoder:
    """picoGPT's algorithm: a cache of words; each merge searches all pairs again."""

    def __init__(self):
        self.ids = json.loads(VOCABULARY.read_text(encoding="utf-8"))
        lines = MERGES.read_text(encoding="utf-8").split("\n")[1:-1]
        self.ranks = {tuple(line.split()): rank for rank, line in enumerate(lines)}
        self.characters, self.cache = bytes_to_unicode(), {}

    def encode(self, text):
        ids = []
        for pretoken in regex.findall(PATTERN, text):
            word = "".join(self.characters[byte] for byte in pretoken.encode("utf-8"))
            if word not in self.cache:
                self.cache[word] = " ".join(self.merge(tuple(word)))
            ids.extend(self.ids[token] for token in self.cache[word].split(" "))
        return ids

    def merge(self, word):
        while len(word) > 1:
            pair = min(set(itertools.pairwise(word)), key=lambda pair: self.ranks.get(pair, np.inf))
            if pair not in self.ranks:
                break
            merged, n = [], 0
            while n < len(word):
                size = 2 if word[n : n + 2] == pair else 1
                merged.append("".join(word[n : n + size]))
                n += size
            word = tuple(merged)
        return word


def hugging_face():
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    tokenizer = Tokenizer(BPE.from_file(str(VOCABULARY), str(MERGES)))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return lambda text: tokenizer.encode(text).ids


def tiktoken():
    from tiktoken import Encoding

    bytes_of = {character: byte for byte, character in bytes_to_unicode().items()}
    ids = json.loads(VOCABULARY.read_text(encoding="utf-8"))
    special = {"<|endoftext|>": ids.pop("<|endoftext|>")}
    ranks = {bytes(bytes_of[character] for character in token): token_id for token, token_id in ids.items()}
    pattern = PATTERN.pattern
    return Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special).encode_ordinary


TOKENIZERS = {  # name -> its packages on PyPI, and a function that returns a function from text to ids
    "this project": ((), this_project),
    "picoGPT's algorithm": ((), lambda: PicoGPTEncoder().encode),
    "tokenizers": (("tokenizers",), hugging_face),
    "tiktoken": (("tiktoken",), tiktoken),
}


def main(name, text_file):
    text = Path(text_file).read_text(encoding="utf-8")
    _, make_encode = TOKENIZERS[name]
    encode = make_encode()
    start = time.perf_counter()
    ids = encode(text)
    seconds = time.perf_counter() - start
    sha256 = hashlib.sha256(np.array(ids, np.int32)).hexdigest()
    print(json.dumps({"mb_per_s": len(text.encode("utf-8")) / MB / seconds, "sha256": sha256}))


if __name__ == "__main__":
    main(*sys.argv[1:])
