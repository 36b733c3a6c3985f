"""The generator of the demo model's text: its syntax, and the rules that each document keeps."""

import random
import re

import pytest

from models.make_demo.grammar import GENRES_FOLDER, expand_document, plural, read_genre, read_rules
from models.make_demo.make_text import (
    GENRE_SHARES,
    MAX_WORDS,
    MIN_WORDS,
    count_words,
    generate_documents,
    is_held_out,
    read_documents,
    read_held_out,
    write_text,
)

PEOPLE = [{"word": "Mia", "he": "she", "his": "her"}, {"word": "Tom", "he": "he", "his": "his"}]
COLORS = [{"word": "orange"}, {"word": "red"}]


def expand(pattern, seed=0, **rules):
    words = {"person": PEOPLE, "color": COLORS}
    return expand_document({"document": [pattern], **rules}, words, random.Random(seed))


def expansions(pattern, **rules):
    return {expand(pattern, seed, **rules).text for seed in range(200)}


def test_a_choice_picks_one_part():
    assert expansions("[a|b [c|d]|]") == {"a", "b c", "b d", ""}


def test_a_rule_picks_an_alternative():
    assert expansions("<x>", x=["1", "<y>2"], y=["3"]) == {"1", "32"}


def test_no_alternative_comes_twice_while_others_are_left():
    assert expansions("<x><x>", x=["1", "2"]) == {"12", "21"}
    assert expansions("<x><x>", x=["1"]) == {"11"}


def test_a_word_stays_the_same_and_a_number_asks_for_another():
    assert expansions("{person} {person} {person2}") == {"Mia Mia Tom", "Tom Tom Mia"}


def test_a_fresh_word_is_not_remembered():
    assert expansions("{person} {~person}") == {"Mia Mia", "Mia Tom", "Tom Mia", "Tom Tom"}


def test_words_of_one_group_meet_only_if_no_other_is_left():
    colors = [{"word": word, "group": word[0]} for word in ("red", "rose", "blue", "black")]
    for seed in range(100):
        pattern = {"document": ["{color} {color2} {color3}"]}
        words = expand_document(pattern, {"color": colors}, random.Random(seed)).text.split()
        assert words[0][0] != words[1][0]
        assert len(set(words)) == 3


def test_columns_capitals_and_articles():
    assert expansions("{person} {person.his} {Person.he}") == {"Mia her She", "Tom his He"}
    assert expansions("{a color} {A color}") == {"an orange An orange", "a red A red"}


@pytest.mark.parametrize(
    ("color", "article"),
    [("orange", "an"), ("hour", "an"), ("unit", "a"), ("unusual", "an"), ("onion", "an"), ("one", "a")],
)
def test_the_article_follows_the_sound(color, article):
    text = expand_document({"document": ["{a color}"]}, {"color": [{"word": color}]}, random.Random(0)).text
    assert text == f"{article} {color}"


def test_cases_mark_their_words():
    text, cases, world = expand(
        "{person} has {a color} hat. It is {color!}. {Person.his} hat! {person!owner}."
    )
    assert [(kind, text[start:end]) for kind, start, end in cases] == [
        ("color", world["color"]),
        ("pronoun", {"Mia": "Her", "Tom": "His"}[world["person"]]),
        ("owner", world["person"]),
    ]


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("pear", "pears"), ("box", "boxes"), ("dish", "dishes"), ("berry", "berries"), ("toy", "toys")],
)
def test_regular_plurals(noun, expected):
    assert plural(noun) == expected


def test_pattern_files(tmp_path):
    (tmp_path / "x.txt").write_text(
        "# A comment\nfirst\n    One.\n    Two\\nlines.\n\nsecond\n    Three.\n", encoding="utf-8"
    )
    assert read_rules(tmp_path / "x.txt") == {"first": ["One.", "Two\nlines."], "second": ["Three."]}


@pytest.mark.parametrize("genre", GENRE_SHARES)
def test_documents_keep_the_rules(genre):
    for _, (text, cases, _) in generate_documents(300, seed=7, genres={genre: 1}):
        assert MIN_WORDS <= count_words(text) <= MAX_WORDS
        assert text.isascii()
        assert not re.search(r"[][<>{}|\x01-\x03]|  | [.,!?]|\.\.", text), text
        assert re.search(r'[.!?"]$|\n[A-Z][a-z]+\.?$', text), text  # a sentence or a signature
        for paragraph in text.split("\n"):
            assert paragraph.count('"') % 2 == 0, text
        for kind, start, end in cases:
            assert kind in {"name", "color", "place", "owner", "count", "day", "pronoun"}
            if kind == "pronoun":
                assert text[start:end].lower() in {"he", "she", "him", "her", "his", "himself", "herself"}
            else:
                assert re.search(rf"\b{text[start:end]}", text[:start], re.IGNORECASE), (
                    text,
                    text[start:end],
                )


@pytest.mark.parametrize("genre", GENRE_SHARES)
def test_each_rule_and_word_list_exists(genre):
    rules, words = read_genre(genre)
    for alternative in (text for texts in rules.values() for text in texts):
        assert set(re.findall(r"<([\w-]+)>", alternative)) <= rules.keys()
        for slot, column in re.findall(r"\{(?:[aA] )?~?([A-Za-z_]+)\d?(?:\.(\w+))?!?\w*\}", alternative):
            assert all(record.get(column or "word") for record in words[slot.lower()]), (slot, column)


@pytest.mark.parametrize("genre", GENRE_SHARES)
def test_no_rule_and_no_word_list_is_unused(genre):
    patterns = (GENRES_FOLDER / genre / "patterns.txt").read_text(encoding="utf-8")
    own_lists = {path.stem for path in (GENRES_FOLDER / genre).glob("*.csv")}
    used_lists = {slot.lower() for slot in re.findall(r"\{(?:[aA] )?~?([A-Za-z_]+)", patterns)}
    assert read_genre(genre)[0].keys() - set(re.findall(r"<([\w-]+)>", patterns)) == {"document"}
    assert own_lists <= used_lists


def test_no_held_out_world_is_in_the_training_text(tmp_path):
    write_text(tmp_path, n_documents=1000, seed=3)
    train, held_out = {}, {}
    for _, document in generate_documents(1000, 3):
        side = held_out if is_held_out(document.world) else train
        side[document.text] = frozenset(document.world.values())
    assert 5 <= len(held_out) <= 50
    assert set(train.values()).isdisjoint(held_out.values())
    assert read_documents(tmp_path / "train.txt") == list(train)
    saved = read_held_out(tmp_path / "held_out.jsonl")
    assert [document["text"] for document in saved] == list(held_out)
    words = [document["text"][start:end] for document in saved for _, start, end in document["cases"]]
    assert all(re.fullmatch(r"[\w' -]+", word) for word in words)
