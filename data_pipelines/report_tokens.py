"""Report text -> sentences of tokens -> tagged items: the reading that needs no grammar."""

import functools
import re
from dataclasses import dataclass

from data_pipelines import report_terms as terms
from data_pipelines.lemmas import without_plural

_READ = "findings?|impressions?|conclusions?|interpretation|wet read|opinion|results?|addendum|summary|observations?"
_SKIPPED = (
    "comparisons?|indications?|(?:clinical |past |medical |brief )*history|technique|procedure"
    "|exam(?:ination)?(?: date)?|reason for (?:the )?(?:exam(?:ination)?|study)|views?|study"
    "|clinical (?:information|data|indication|question)|recommendations?|notifications?|date"
    "|signed by|dictated by|attending|patient|referring physician"
)
_HEADER = re.compile(
    rf"(?:^|(?<=[\n.;!?]))[ \t]*(?:(?P<read>(?:final report )?(?:{_READ}))|(?P<skipped>{_SKIPPED}))\s*:",
    re.IGNORECASE,
)
_BLANK_LINE = re.compile(r"\S[ \t]*\n[ \t]*\n")
_ITEM_BREAK = re.compile(r"(?<![.?!:,;\s])[ \t]*\n(?=[ \t]*(?:\n|\d+[.)][ \t]|[-*•][ \t]))")
_LIST_NUMBER = re.compile(r"(?:^|(?<=[\n.?!:]))[ \t]*(?:\d{1,2}[.)]|[-*•])(?=[ \t]+[A-Za-z])")
_TOKEN = re.compile(r"\d+(?:st|nd|rd|th)\b|\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:['’-][^\W\d_]+)*|_+|[^\w\s]")
_END = frozenset(".?!")
_LONGEST = 200


@dataclass(slots=True)
class Item:
    """A phrase of a sentence: tokens `start` .. `end` inclusive, counted over the whole report."""

    tag: str
    value: str
    start: int
    end: int
    phrase: str
    status: str = ""


def read_sections(text: str) -> list[str]:
    """The parts of a report that describe this image, in order.

    Text under COMPARISON, INDICATION, HISTORY, TECHNIQUE, EXAMINATION, RECOMMENDATION and their like is
    left out, up to the next header or blank line. Text without a header is kept.

    >>> read_sections("INDICATION: effusion? FINDINGS: Clear lungs.")
    [' Clear lungs.']
    """
    parts, start, reading = [], 0, True
    for match in [*_HEADER.finditer(text), None]:
        part = text[start : match.start() if match else len(text)]
        if not reading:
            blank = _BLANK_LINE.search(part)
            part = part[blank.end() :] if blank else ""
        if part.strip():
            parts.append(part)
        if match:
            start, reading = match.end(), match["read"] is not None
    return parts


def sentences(text: str) -> list[list[str]]:
    """Tokens of each sentence; each ends in ".", "?" or "!", where RadGraph text is cut as well.

    A run of `_LONGEST` tokens without one of these is cut there: no reader wrote it, and the time a report
    takes stays linear in its length.
    """
    found: list[list[str]] = []
    for part in read_sections(text):
        current: list[str] = []
        for token in _TOKEN.findall(_LIST_NUMBER.sub(" ", _ITEM_BREAK.sub(" .\n", part))):
            current.extend(_split_hyphens(token))
            if token in _END or len(current) >= _LONGEST:
                found.append(current if token in _END else [*current, "."])
                current = []
        if current:
            found.append([*current, "."])
    return [tokens for tokens in found if len(tokens) > 1]


def _split_hyphens(token: str) -> list[str]:
    if "-" not in token or len(token) == 1 or token.lower() in _HYPHENATED:
        return [token]
    return token.split("-")


@functools.lru_cache(maxsize=65536)
def _normal(token: str) -> str:
    return without_plural(token.lower().replace("’", "'"))


def _phrases() -> dict[tuple[str, ...], tuple[str, str, str]]:
    tables = [
        *(("ROOT", value, words) for value, words in terms.ROOTS.items()),
        *(("ZONE", value, words) for value, words in terms.ZONES.items()),
        *(("SIDE", value, words) for value, words in terms.SIDES.items()),
        *(("FINDING", value, words) for value, words in terms.FINDINGS.items()),
        *(("QUALITY", value, words) for value, words in terms.QUALITIES.items()),
        *((tag, "", words) for tag, words in terms.GRAMMAR.items()),
    ]
    found: dict[tuple[str, ...], tuple[str, str, str]] = {}
    for tag, value, words in tables:
        for phrase in words.split("|"):
            found.setdefault(tuple(map(_normal, phrase.split())), (tag, value, phrase))
    return found


_PHRASES = _phrases()
_HYPHENATED = frozenset(word for key in _PHRASES for word in key if "-" in word)
_LENGTHS: dict[str, tuple[int, ...]] = {}
for _key in sorted(_PHRASES, key=len, reverse=True):
    _LENGTHS[_key[0]] = tuple(dict.fromkeys((*_LENGTHS.get(_key[0], ()), len(_key))))


def tag(tokens: list[str], *, offset: int) -> list[Item]:
    """Greedy longest-phrase reading of one sentence; words that no table knows get the tag "WORD".

    Args:
      tokens: the sentence.
      offset: number of its first token in the report.
    """
    words = [_normal(token) for token in tokens]
    items, i = [], 0
    while i < len(words):
        for length in _LENGTHS.get(words[i], ()):
            known = _PHRASES.get(tuple(words[i : i + length]))
            if known:
                break
        else:
            length, known = 1, ("WORD", "", words[i])
        items.append(Item(known[0], known[1], offset + i, offset + i + length - 1, known[2]))
        i += length
    return items
