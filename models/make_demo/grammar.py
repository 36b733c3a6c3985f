"""Expand patterns into documents. A pattern is text with rules, choices and words of the world.

    <rule>           an alternative of that rule, from the same file
    [one|two|]       one of the parts. Choices nest
    {person}         a word of the world. It stays the same in the whole document. {person2} is another one
    {person.his}     a column of its word list. {Person.his} starts with a capital
    {a color}        with its article: "a red", "an orange". {A color}: "A red", "An orange"
    {~trait}         a word that the world does not remember
    {person!}        a recall case: the text so far determines this word. {person!owner} names its kind
    \\n               a line break

genres/ has a folder for each genre, with its patterns and its word lists. The lists in genres/shared/ are for
all genres.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

GENRES_FOLDER = Path(__file__).parent / "genres"
GENDERED_WORDS = {
    "female": {
        "he": "she",
        "him": "her",
        "his": "her",
        "himself": "herself",
        "child": "girl",
        "man": "woman",
    },
    "male": {"he": "he", "him": "him", "his": "his", "himself": "himself", "child": "boy", "man": "man"},
}
PRONOUNS = ("he", "him", "his", "himself")
CASE_KINDS = {"person": "name", "color": "color", "place": "place", "number": "count"}
AN = re.compile(r"(?!one\b|once|eu|uni|use|usu|uku)[aeiou]|hour|honest|honor", re.IGNORECASE)
CHOICE = re.compile(r"\[([^][]*)\]")
RULE = re.compile(r"<([\w-]+)>")
WORD = re.compile(
    r"\{(?P<article>[aA] )?(?P<fresh>~?)(?P<slot>[A-Za-z_]+\d?)(?:\.(?P<column>\w+))?(?P<case>!\w*)?\}"
)
CASE = re.compile(r"\x01(\w+)\x02([^\x03]+)\x03")  # kind and word, as `Expansion.expand_word` marks them


class Case(NamedTuple):
    """A word that the text before it determines: `text[start:end]`."""

    kind: str
    start: int
    end: int


class Document(NamedTuple):
    text: str
    cases: list[Case]
    world: dict[str, str]  # the words that stay the same, e.g. {"person": "Mia", "color": "red"}


def read_rules(path):
    """Read a file of patterns: a line with a rule's name, then one indented line for each alternative."""
    rules, alternatives = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            alternatives.append(line.strip().replace("\\n", "\n"))
        elif line and not line.startswith("#"):
            alternatives = rules.setdefault(line.strip(), [])
    return rules


def plural(noun):
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    return re.sub(r"([^aeiou])y$", r"\1ie", noun) + "s"


def read_words(path):
    """Read a word list, a CSV file, into dictionaries. The first column is the word."""
    with path.open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file, skipinitialspace=True))
    for record in records:
        record["word"] = next(iter(record.values()))
        record["plural"] = record.get("plural") or plural(record["word"])
        record.update(GENDERED_WORDS.get(record.get("gender"), {}))
    return records


def read_genre(genre):
    """Read the patterns and the word lists of a genre. Its lists replace shared ones of the same name.

    Returns {rule: [alternative, ...]} and {list: [{"word": "Mia", "he": "she", ...}, ...]}.
    """
    paths = [path for name in ("shared", genre) for path in (GENRES_FOLDER / name).glob("*.csv")]
    return read_rules(GENRES_FOLDER / genre / "patterns.txt"), {path.stem: read_words(path) for path in paths}


def expand_document(rules, words, rng):
    """Expand the rule "document" in a new world. rng is a random.Random."""
    expansion = Expansion(rules, words, rng)
    marked = expansion.expand_rule("document")
    text, *parts = CASE.split(marked)  # text, kind, word, text, kind, word, text, ...
    cases = []
    for kind, word, after in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        cases.append(Case(kind, len(text), len(text) + len(word)))
        text += word + after
    return Document(text, cases, {slot: record["word"] for slot, record in expansion.world.items()})


class Expansion:
    """One document in the making: its world, and the alternatives that it has used."""

    def __init__(self, rules, words, rng):
        self.rules, self.words, self.rng = rules, words, rng
        self.world = {}
        self.used = set()

    def pick(self, options):
        """Pick one at random. Unlike `choice`, `random` gives the same numbers in all versions of Python."""
        return options[int(self.rng.random() * len(options))]

    def expand(self, pattern):
        while CHOICE.search(pattern):  # from the innermost choice outwards
            pattern = CHOICE.sub(lambda match: self.pick(match[1].split("|")), pattern)
        pattern = RULE.sub(lambda match: self.expand_rule(match[1]), pattern)
        return WORD.sub(self.expand_word, pattern)

    def expand_rule(self, name):
        """Expand an alternative of the rule. None comes twice in a document while others are left."""
        alternatives = self.rules[name]
        unused = [text for text in alternatives if text not in self.used]
        alternative = self.pick(unused or alternatives)
        self.used.add(alternative)
        return self.expand(alternative)

    def expand_word(self, match):
        """Replace {...}: choose the column, then capitalize, mark the case and add the article."""
        slot, column = match["slot"].lower(), match["column"] or "word"
        record = self.pick(self.words[list_name(slot)]) if match["fresh"] else self.world_record(slot)
        word = record[column]
        article = "an " if AN.match(word) else "a "
        if match["slot"][0].isupper():
            word = word[0].upper() + word[1:]
        if match["case"]:
            word = f"\x01{match['case'][1:] or CASE_KINDS[list_name(slot)]}\x02{word}\x03"
        elif column in PRONOUNS:
            word = f"\x01pronoun\x02{word}\x03"
        if match["article"]:
            word = (article.capitalize() if match["article"] == "A " else article) + word
        return word

    def world_record(self, slot):
        """Return the world's record for the slot. On first use, pick one that no other slot has.

        Persons and colors have groups: two of a document come from different groups while there are any."""
        if slot not in self.world:
            taken = list(self.world.values())
            groups = [record["group"] for record in taken if "group" in record]
            unused = [record for record in self.words[list_name(slot)] if record not in taken]
            apart = [record for record in unused if record.get("group") not in groups]
            self.world[slot] = self.pick(apart or unused)
        return self.world[slot]


def list_name(slot):
    """Return the word list of a slot: "person2" -> "person"."""
    return slot.rstrip("0123456789")
