"""The measures of the model card that count something."""

import itertools

import numpy as np

from models.make_demo.evaluate import has_8_gram_twice, prefers, token_ends


def test_repeated_8_grams_are_found():
    assert not has_8_gram_twice([1, 2, 3, 4, 5, 6, 7] * 2)
    assert has_8_gram_twice([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8])
    assert not has_8_gram_twice([1] * 8)
    assert has_8_gram_twice([1] * 9)


def test_token_ends_are_positions_in_the_text(demo):
    encoder = demo[0]
    text = "Mia found a turquoise umbrella."
    ids = encoder.encode(text)
    starts = [0, *token_ends(ids, encoder)]
    pieces = [text[start:end] for start, end in itertools.pairwise(starts)]
    assert [encoder.encode(piece) for piece in pieces] == [[token_id] for token_id in ids]


def test_pronouns_are_compared_with_the_other_gender(demo):
    encoder = demo[0]
    logits = np.zeros(4096)
    logits[encoder.encode(" she")[0]] = 1
    assert prefers("she", "Mia said that ", logits, encoder)
    assert not prefers("he", "Mia said that ", logits, encoder)
    logits[encoder.encode(" his")[0]] = 1
    assert prefers("his", "with ", logits, encoder)
    assert not prefers("her", "with ", logits, encoder)
