"""Report text -> sentences of tokens -> tagged items: the reading that needs no grammar."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_pipelines.radgraph import without_plural
from data_pipelines.reports import terms
from data_pipelines.reports.lists import with_stops
from data_pipelines.reports.sections import read_sections

_PLAIN = re.compile(r"\d+(?:st|nd|rd|th)\b|\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:['’-][^\W\d_]+)*|_+|[^\w\s]")
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


# Of these the third person asserts what the plain form only asks for ("rules out pneumonia").
_VERBATIM = frozenset({"excludes", "rules"})


@functools.lru_cache(maxsize=65536)
def normal(token: str) -> str:
    word = token.lower().replace("’", "'")
    return word if word in _VERBATIM else without_plural(word)


def _phrases() -> dict[tuple[str, ...], tuple[str, str, str]]:
    tables = [
        *(("ROOT", value, phrases) for value, phrases in terms.ROOTS.items()),
        *(("ZONE", value, phrases) for value, phrases in terms.ZONES.items()),
        *(("SIDE", value, phrases) for value, phrases in terms.SIDES.items()),
        *(("FINDING", value, phrases) for value, phrases in terms.FINDINGS.items()),
        *(("QUALITY", value, phrases) for value, phrases in terms.QUALITIES.items()),
        *((tag, "", phrases) for tag, phrases in terms.GRAMMAR.items()),
    ]
    found: dict[tuple[str, ...], tuple[str, str, str]] = {}
    for tag, value, phrases in tables:
        for phrase in phrases:
            found.setdefault(tuple(map(normal, phrase.split())), (tag, value, phrase))
    return found


_PHRASES = _phrases()
_WORDS = frozenset(word for key in _PHRASES for word in key)
_OBSERVED = frozenset(
    key[0] for key, (tag, _, _) in _PHRASES.items() if len(key) == 1 and tag in ("FINDING", "QUALITY")
)
_HYPHENATED = frozenset(word for word in _WORDS if "-" in word)
# Words of the tables that punctuation runs through ("w/o", "vs."): read before all else.
_WHOLE = "|".join(re.escape(word) for word in sorted(_WORDS) if not _PLAIN.fullmatch(word))
_TOKEN = re.compile(rf"(?<!\w)(?:{_WHOLE})(?!\w)|{_PLAIN.pattern}", re.IGNORECASE)
_LENGTHS: dict[str, tuple[int, ...]] = {}
for _key in sorted(_PHRASES, key=len, reverse=True):
    _LENGTHS[_key[0]] = tuple(dict.fromkeys((*_LENGTHS.get(_key[0], ()), len(_key))))


def tokenise(text: str) -> list[str]:
    """Words, numbers and punctuation marks of a text without headers, in order.

    >>> tokenise("Left-sided opacity, r/o mass; 2-cm nodule.")
    ['Left-sided', 'opacity', ',', 'r/o', 'mass', ';', '2', '-', 'cm', 'nodule', '.']
    """
    return [part for token in _TOKEN.findall(text) for part in _split_hyphens(token)]


@functools.lru_cache(maxsize=65536)
def _split_hyphens(token: str) -> Sequence[str]:
    if token[:3].lower() == "non" and normal(token[3:]) in _OBSERVED:
        return [token[:3], token[3:]]
    if "-" not in token or len(token) == 1 or normal(token) in _HYPHENATED:
        return [token]
    return token.split("-")


def sentences(text: str) -> list[list[str]]:
    """Tokens of each sentence; each ends in ".", "?" or "!", where RadGraph text is cut as well.

    A run of `_LONGEST` tokens without one of these is cut there: no reader wrote it, and the time a report
    takes stays linear in its length.
    """
    found: list[list[str]] = []
    for part in read_sections(text):
        current: list[str] = []
        for token in tokenise(with_stops(part)):
            current.append(token)
            if token in _END or len(current) >= _LONGEST:
                found.append(current if token in _END else [*current, "."])
                current = []
        if current:
            found.append([*current, "."])
    return [tokens for tokens in found if len(tokens) > 1]


def tag(tokens: list[str], *, offset: int) -> list[Item]:
    """Greedy longest-phrase reading of one sentence; words that no table knows get the tag "WORD".

    A word of `terms.SHORT` gives the items of what it stands for, all at its own token.

    Args:
      tokens: the sentence.
      offset: number of its first token in the report.
    """
    words = tuple(map(normal, tokens))
    items, i = [], 0
    while i < len(words):
        for length in _LENGTHS.get(words[i], ()):
            known = _PHRASES.get(words[i : i + length])
            if known:
                break
        else:
            length, known = 1, ("WORD", "", words[i])
        if words[i] not in terms.SHORT:
            items.append(Item(known[0], known[1], offset + i, offset + i + length - 1, known[2]))
            i += length
            continue
        for word in terms.SHORT[words[i]].split():
            tagged, value, phrase = _PHRASES[(word,)]
            items.append(Item(tagged, value, offset + i, offset + i, phrase))
        i += 1
    return items
