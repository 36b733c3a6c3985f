"""Expand patterns into documents. A pattern is text with rules, choices and words of the world.

<rule>           an alternative of that rule, from the same file or from shared.txt
[one|two|]       one of the parts. Choices nest
{person}         a word of the world. It stays the same in the whole document. {person2} is another one
{person.his}     a column of its word list. {Person.his} starts with a capital
{a color}        with its article: "a red", "an orange". {A color}: "A red", "An orange"
{~trait}         a word that the world does not remember
{person!}        a recall case: the text so far determines this word. {person!owner} names the kind of case
\\n               a line break
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PRONOUNS = {
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
CASE_KINDS = {"person": "name", "color": "color", "place": "place", "number": "count"}
AN = re.compile(r"(?i)(?!one\b|once|eu|uni|use|usu|uku)[aeiou]|hour|honest|honor")
CHOICE = re.compile(r"\[([^][]*)\]")
RULE_OR_WORD = re.compile(
    r"<(?P<rule>[\w-]+)>"
    r"|\{(?P<article>[aA] )?(?P<fresh>~?)(?P<slot>[A-Za-z_]+\d?)(?:\.(?P<column>\w+))?(?P<case>!\w*)?\}"
)
CASE = re.compile(r"\x01(\w+)\x02([^\x03]+)\x03")


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
    """Read a file of patterns: a line with a rule's name, then one indented line for each alternative.

    Raises ValueError with the line's number if an alternative stands before the first name."""
    rules = {}
    alternatives = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            alternatives = rules.setdefault(line.strip(), [])
        elif alternatives is None:
            raise ValueError(f"{path}, line {number}: an alternative without a rule")
        else:
            alternatives.append(line.strip().replace("\\n", "\n"))
    return rules


def plural(noun):
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    return re.sub(r"([^aeiou])y$", r"\1ie", noun) + "s"


def read_words(path):
    """Read a word list, a CSV file, into dictionaries. The first column is the word."""
    with path.open(encoding="utf-8", newline="") as file:
        records = [{name: text.strip() for name, text in row.items()} for row in csv.DictReader(file)]
    for record in records:
        word = next(iter(record.values()))
        record["word"] = word
        record["plural"] = record.get("plural") or plural(word)
        record.update(PRONOUNS.get(record.get("gender"), {}))
    return records


def all_words():
    """Return the word lists by kind, e.g. {"person": [{"person": "Mia", "he": "she", ...}, ...]}."""
    return {path.stem: read_words(path) for path in sorted((HERE / "words").glob("*.csv"))}


class Grammar:
    """The patterns of one genre, with the word lists and the shared rules."""

    def __init__(self, genre, words=None):
        self.words = words or all_words()
        self.rules = read_rules(HERE / "patterns" / "shared.txt") | read_rules(
            HERE / "patterns" / f"{genre}.txt"
        )

    def document(self, rng):
        """Expand the rule "document" in a new world. rng is a random.Random."""
        return Expansion(self, rng).document()


class Expansion:
    """One document in the making: its world, and the alternatives that it has used."""

    def __init__(self, grammar, rng):
        self.rules, self.words = grammar.rules, grammar.words
        self.rng = rng
        self.world = {}
        self.used = set()

    def document(self):
        marked = self.expand("<document>")
        text, cases, end = "", [], 0
        for match in CASE.finditer(marked):
            text += marked[end : match.start()]
            kind, word = match.groups()
            cases.append(Case(kind, len(text), len(text) + len(word)))
            text += word
            end = match.end()
        world = {slot: record["word"] for slot, record in self.world.items()}
        return Document(text + marked[end:], cases, world)

    def pick(self, options):
        return options[
            int(self.rng.random() * len(options))
        ]  # Python promises the same numbers in each version

    def expand(self, pattern):
        while CHOICE.search(pattern):  # from the innermost choice outwards
            pattern = CHOICE.sub(lambda match: self.pick(match[1].split("|")), pattern)
        return RULE_OR_WORD.sub(
            lambda match: self.rule(match["rule"]) if match["rule"] else self.word(match), pattern
        )

    def rule(self, name):
        """Expand an alternative of the rule. No alternative comes twice in a document while others are left."""
        alternatives = self.rules[name]
        unused = [text for text in alternatives if text not in self.used]
        alternative = self.pick(unused or alternatives)
        self.used.add(alternative)
        return self.expand(alternative)

    def word(self, match):
        slot = match["slot"].lower()
        record = self.pick(self.words[slot]) if match["fresh"] else self.record(slot)
        word = record[match["column"] or "word"]
        if match["slot"][0].isupper():
            word = word[0].upper() + word[1:]
        if match["case"]:
            word = f"\x01{match['case'][1:] or CASE_KINDS[slot.rstrip('0123456789')]}\x02{word}\x03"
        elif match["column"] in ("he", "him", "his", "himself"):
            word = f"\x01pronoun\x02{word}\x03"
        if match["article"]:
            article = "an " if AN.match(record[match["column"] or "word"]) else "a "
            word = (article.capitalize() if match["article"] == "A " else article) + word
        return word

    def record(self, slot):
        """Return the world's record for the slot. On first use, pick one that no other slot has."""
        if slot not in self.world:
            taken = list(self.world.values())
            self.world[slot] = self.pick([r for r in self.words[slot.rstrip("0123456789")] if r not in taken])
        return self.world[slot]
