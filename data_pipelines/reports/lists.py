"""Lists, lines and abbreviations in the text of a section: where a sentence ends without a full stop, and where not."""

import re

from data_pipelines.radgraph import without_plural
from data_pipelines.reports import terms

_ITEM_BREAK = re.compile(
    r"(?<![.?!:,;\s])[ \t]*\n(?=[ \t]*(?:\n|\d+[.)][ \t]|[-*+•][ \t]|[A-Z][A-Za-z ,/]{0,40}:(?!\d)))"
)
_LIST_NUMBER = re.compile(
    r"(?:^|(?<=[\n.?!:]))[ \t]*(?:\(?\d{1,2}[.)]|\d{1,2}[-:]|#\d{1,2}[.:)]?|[-*+•])(?=[ \t]+[A-Za-z])"
)
# Within a line only runs of numbers or letters from 1 or a on are a list; bullets always are.
_NUMBERINGS = (
    re.compile(r"(?<!\S)[(\[]?(\d{1,2})[ ]?[)\]](?=[ \t]*[A-Za-z])"),
    re.compile(r"(?<!\S)(\d{1,2})[-:/](?=[ \t]+[A-Za-z])"),
    re.compile(r"(?<!\S)#[ ]?(\d{1,2})[.:)]?(?=[ \t]+[A-Za-z])"),
    re.compile(r"(?<!\S)\(?([a-hA-H])\)(?=[ \t]+[A-Za-z])"),
    re.compile(r"(?<!\S)\(?(i{1,3}|iv|vi{0,3}|ix|x)\)(?=[ \t]+[A-Za-z])"),
)
_FIRST_NUMBER = re.compile(r"(?<!\S)(?:[(\[]?[1aAi][ ]?[)\]]|#?[ ]?1)")
_COUNT = {letter: i for i, letter in enumerate("abcdefgh", 1)}
_COUNT |= {numeral: i for i, numeral in enumerate(["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"], 1)}
_BULLET = re.compile(r"[•▪●◦‣■·→➢►](?=[ \t]*\w)|(?<=\s)\*(?=[ \t])")
# A short line whose end is no word that must go on, before one that begins like a sentence.
_STARTS = frozenset(
    phrase for phrase in (*terms.GRAMMAR["SIZE"], *terms.SIDES["left"], *terms.SIDES["right"], *terms.ZONES["base"])
) - terms.DENIED_SIZES | {"there", "a", "an", "no"}
_SHORT_LINE = re.compile(
    rf"^([^\n]{{0,59}}[^\s.?!:,;])[ \t]*\n(?=[ \t]*(?:[A-Z][a-z]|(?:{'|'.join(map(re.escape, sorted(_STARTS)))})[ ]))",
    re.MULTILINE,
)
_NAMES = frozenset(word for words in terms.FINDINGS.values() for word in words) - terms.DESCRIBING
# Two findings on two lines make no wrapped sentence.
_NOUNS = re.compile(r"\b(\w+)[ \t]*\n[ \t]*(?=(\w+))")
_GOES_ON = frozenset(
    phrase for tag in ("THE", "PREP", "AND", "OR", "WITH", "BECAUSE") for phrase in terms.GRAMMAR[tag]
) | {"no", "not", "without"}
# "?pneumonia" and "opacity ? pneumonia" ask of what follows.
_ASKED = re.compile(r"(?<![\w.?!])\?(?:[ \t]+(?=[a-z])|(?=[A-Za-z]))")
_STOP_WITHIN = re.compile(r"\.[ \t]+[a-z]")
_ABBREVIATION = re.compile(rf"\b(?i:({'|'.join(terms.ABBREVIATIONS)}))\.(?=[ \t]+[a-z])")


def with_stops(text: str) -> str:
    """A text with a full stop at the end of each item of a list, without the numbers of the items.

    >>> with_stops("1) No edema 2) Nodule").split()
    ['.', 'No', 'edema', '.', 'Nodule']
    """
    if "?" in text:
        text = _ASKED.sub("query ", text)
    if _STOP_WITHIN.search(text):
        text = _ABBREVIATION.sub(r"\1", text)
    if "\n" in text:
        text = _SHORT_LINE.sub(_stopped, _NOUNS.sub(_parted, _ITEM_BREAK.sub(" .\n", text)))
    if _FIRST_NUMBER.search(text):
        for pattern in _NUMBERINGS:
            text = _without_numbers(text, pattern)
    if "*" in text or not text.isascii():
        text = _BULLET.sub(" . ", text)
    return _LIST_NUMBER.sub(" ", text)


def _stopped(match: re.Match) -> str:
    line = match[1]
    return match[0] if line.split()[-1].lower() in _GOES_ON else f"{line} .\n"


def _parted(match: re.Match) -> str:
    both = {without_plural(word.lower()) for word in match.groups()} <= _NAMES
    return f"{match[1]} .\n" if both else match[0]


def _without_numbers(text: str, pattern: re.Pattern) -> str:
    """A full stop for each number of a run that counts from 1 or a on; single numbers stay."""
    runs: list[list[re.Match]] = [[]]
    for match in pattern.finditer(text):
        number = int(match[1]) if match[1].isdigit() else _COUNT[match[1].lower()]
        if number == 1:
            runs.append([match])
        elif number == len(runs[-1]) + 1 and runs[-1]:
            runs[-1].append(match)
    pieces, start = [], 0
    for match in (match for run in runs if len(run) > 1 for match in run):
        pieces.append(text[start : match.start()])
        start = match.end()
    return " . ".join([*pieces, text[start:]])
