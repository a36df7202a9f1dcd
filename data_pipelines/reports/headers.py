"""The headers of a report's sections, and what each says of the text under it. The names are in assets/sections.toml.

A header ends in a colon or, if its name is a known one, in a dash or bracket, or stands alone on its line. A misspelt
name ("COMPARISION"), one without its blanks ("CLINICALHISTORY") and one with too many ("F I N D I N G S") are
known, too.
"""

import difflib
import enum
import functools
import re
import tomllib
from collections.abc import Iterator
from importlib import resources

from data_pipelines.radgraph import without_plural
from data_pipelines.reports import terms

_TABLES = tomllib.loads((resources.files("data_pipelines") / "assets" / "sections.toml").read_text(encoding="utf-8"))
_READ, _SKIPPED, _ONE_SENTENCE = (
    frozenset(tuple(phrase.split()) for phrase in _TABLES[name]) for name in ("read", "skipped", "one_sentence")
)
_DESCRIBING = frozenset(_TABLES["describing"])
_EARLIER = frozenset(_TABLES["earlier"])
_JOINING = frozenset(_TABLES["joining"])
_FILM = frozenset(_TABLES["film"]) | terms.WORDS
_HEAD_WORDS = frozenset(word for head in (*_READ, *_SKIPPED, *_ONE_SENTENCE) for word in head) | _EARLIER
_SKIPPED_ENDS = frozenset(_TABLES["skipped_ends"])
_FILM_ALONE = frozenset(_TABLES["film_alone"])
_OF_STUDIES = terms.STUDIES | _JOINING | _EARLIER | frozenset(_TABLES["film"]) | _DESCRIBING
_KNOWN = _HEAD_WORDS | _JOINING | _FILM
_LONGEST_HEAD = max(len(head) for head in (*_READ, *_SKIPPED, *_ONE_SENTENCE))
# Shorter words are not corrected, and none that is less alike (difflib's ratio).
_SHORTEST, _ALIKE = 5, 0.84
_LONG_HEAD_WORDS = sorted(word for word in _HEAD_WORDS | _JOINING if len(word) >= _SHORTEST)
_VERBS = frozenset({"is", "are", "was", "were", "has", "have", "had", "show", "demonstrate", "reveal", "suggest"})
_VERBS |= {"remain"}
_HEADER = re.compile(
    r"(?:^[ \t]*[\"'\[(=>]*|(?<=[.;!?])[ \t]*)(?P<name>[A-Za-z0-9][\w ,/&()'-]{0,60}?)[\])=]*[ \t]*(?:\n[ \t]*)?:(?!\d)"
    r"|^[ \t]*\[?(?P<bare>[A-Z][A-Za-z /&-]{0,60}?)(?:\](?=[ \t\n]|$)|[ \t]+[-–—]+(?=[ \t])|--+|[ \t]*;|[ \t]*$)"
    r"|(?<=\s)(?P<inner>[A-Z]{4,}(?: [A-Z]{2,}){0,4})[ \t]*:",
    re.MULTILINE,
)
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*|[&/]")


class Role(enum.Enum):
    """What a header says of the text under it."""

    READ = enum.auto()
    ONE_SENTENCE = enum.auto()
    SKIPPED = enum.auto()
    EARLIER = enum.auto()
    OTHER = enum.auto()


def headers(text: str) -> Iterator[tuple[re.Match, Role]]:
    """All headers of a plain text, in order; group "name" or "bare" is the name as it is written."""
    return ((match, role) for match in _HEADER.finditer(text) if (role := _role(match)) is not None)


def words_of(match: re.Match) -> tuple[str, ...]:
    """The words of a header's name: lower case, singular, spelt as in assets/sections.toml where they come near."""
    return _words(match["name"] or match["bare"] or match["inner"])


def at_line_start(match: re.Match) -> bool:
    return match.start() == 0 or match.string[match.start() - 1] == "\n"


def names_film(match: re.Match) -> bool:
    """Whether a header names a view, a part of the chest or a finding ("AP UPRIGHT", "Bones", "Effusion")."""
    words = words_of(match)
    return not _FILM.isdisjoint(words) or (len(words) == 1 and words[0] in _FILM_ALONE)


def describes(match: re.Match) -> bool:
    """Whether the section is one of findings or impressions."""
    words = words_of(match)
    return any(word in _DESCRIBING and "clinical" not in words[max(0, i - 1) : i] for i, word in enumerate(words))


def _role(match: re.Match) -> Role | None:
    """The role of a header; None if the match is no header but a part of a sentence."""
    words = words_of(match)
    if not words or not _VERBS.isdisjoint(words):
        return None
    if match["inner"] is not None:
        role = _known_role(words)
        return None if role is Role.EARLIER else role
    if match["name"] is None:
        return _known_role(words)
    if _is_earlier(words):
        return Role.EARLIER
    if describes(match) or _length(words, _READ):
        return Role.READ
    name = match["name"].strip()
    known = _known_role(words, strict=not name.isupper())
    if known is not None:
        return known
    titled = name.isupper() or (name[0].isupper() and (at_line_start(match) or names_film(match)))
    return Role.OTHER if titled else None


def _known_role(words: tuple[str, ...], *, strict: bool = True) -> Role | None:
    """The role of a name that begins with a known one and, if `strict`, holds nothing else."""
    if _is_earlier(words):
        return Role.EARLIER
    for heads, role in ((_READ, Role.READ), (_SKIPPED, Role.SKIPPED), (_ONE_SENTENCE, Role.ONE_SENTENCE)):
        length = _length(words, heads)
        if length and (not strict or _joins(words[length:])):
            return role
    return Role.SKIPPED if words[-1] in _SKIPPED_ENDS and len(words) <= _LONGEST_HEAD else None


def _is_earlier(words: tuple[str, ...]) -> bool:
    """Whether a name is that of another film ("PRIOR FILM", "COMPARED TO")."""
    if words[0] not in _EARLIER or not all(word in _OF_STUDIES or word[0].isdigit() for word in words[1:]):
        return False
    return len(words) == 1 or not (terms.STUDIES | _DESCRIBING).isdisjoint(words) or words[1] in _JOINING


def _length(words: tuple[str, ...], heads: frozenset[tuple[str, ...]]) -> int:
    """How many words the longest head that a name begins with has; 0 if there is none."""
    return next((n for n in range(min(_LONGEST_HEAD, len(words)), 0, -1) if words[:n] in heads), 0)


def _joins(rest: tuple[str, ...]) -> bool:
    while rest:
        length = max(_length(rest, _SKIPPED), _length(rest, _ONE_SENTENCE), int(rest[0] in _JOINING))
        if not length:
            return False
        rest = rest[length:]
    return True


@functools.lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    words = [without_plural(word) for word in _WORD.findall(name.lower())]
    if _KNOWN.isdisjoint(words) or all(len(word) == 1 for word in words):
        parts = _segmented(without_plural("".join(words)))
        if not _HEAD_WORDS.isdisjoint(parts):
            return parts
    return tuple(map(_corrected, words))


def _segmented(word: str) -> tuple[str, ...]:
    """A word without blanks as words of the tables; empty if it is not made of them."""
    parts: list[tuple[str, ...] | None] = [()]
    for end in range(1, len(word) + 1):
        starts = (k for k in range(end) if parts[k] is not None and word[k:end] in _HEAD_WORDS | _JOINING)
        start = next(starts, None)
        parts.append(None if start is None else (*(parts[start] or ()), word[start:end]))
    return parts[-1] or ()


@functools.lru_cache(maxsize=4096)
def _corrected(word: str) -> str:
    if word in _KNOWN or len(word) < _SHORTEST:
        return word
    return next(iter(difflib.get_close_matches(word, _LONG_HEAD_WORDS, n=1, cutoff=_ALIKE)), word)
