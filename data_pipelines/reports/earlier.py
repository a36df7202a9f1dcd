"""What a sentence says of an earlier film: "not seen on the prior radiograph" denies nothing on this one."""

import re
from collections.abc import Sequence

from data_pipelines.reports import terms
from data_pipelines.reports.tokens import Item

THEN = "THEN"
_ALONE = frozenset({"prior", "previous", "last", "comparison", "comparison film", "comparison study"})
_LOCATING = frozenset({"on", "in", "at", "of"})
_DATED = frozenset({"of", "from", "dated"})
_ADDED = frozenset({"WORD", "SIZE", "ROOT", "FILL", "THE", THEN})
_MARKS = terms.FORMERLY | terms.EARLIER | terms.STUDIES
_MOST_WORDS = 4
_DATE = re.compile(
    r"\d+(?:[./:-]\d+)*|_+|x{4}|yesterday|(?:jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)\w*|may|last",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d\d|\d{1,2}[/.-]\d{1,2}(?:[/.-]\d{2,4})?")


def marked(items: Sequence[Item]) -> list[Item]:
    """The items of a sentence, where a phrase of an earlier film ("on the previous study") is one with the tag THEN."""
    if not [item for item in items if item.phrase in _MARKS or item.phrase[0].isdigit()]:
        return list(items)
    found: list[Item] = []
    i = 0
    while i < len(items):
        end = _phrase_end(items, i)
        if end:
            first, last = items[i], items[end - 1]
            found.append(Item(THEN, "", first.start, last.end, first.phrase))
        else:
            found.append(items[i])
        i = end or i + 1
    return found


def _phrase_end(items: Sequence[Item], i: int) -> int:
    """The number of the item behind a phrase of an earlier film that begins at i; 0 if none does."""
    if items[i].phrase in terms.FORMERLY and items[i].tag == "WORD":
        return i + 1
    if items[i].phrase in _LOCATING:
        compared = i > 0 and (items[i - 1].phrase in ("as", "than") or items[i - 1].phrase.endswith(" than"))
        return 0 if compared else _study_end(items, i + 1)
    begins = i == 0 or items[i - 1].tag in ("COMMA", "STOP") or items[i - 1].phrase == "-"
    end = _study_end(items, i) if begins else 0
    return end if end < len(items) and items[end].phrase in terms.PAST else 0


def _study_end(items: Sequence[Item], i: int) -> int:
    """The number of the item behind an earlier study that is named from i on; 0 if it is none."""
    if i < len(items) and _YEAR.fullmatch(items[i].phrase):
        return i + 1
    earlier = 0
    for k in range(i, min(i + _MOST_WORDS + 2, len(items))):
        phrase = items[k].phrase
        if phrase in terms.STUDIES and phrase not in terms.EARLIER:
            dated = _date_end(items, k + 1)
            return dated or (k + 1 if earlier else 0)
        if phrase in terms.EARLIER or re.fullmatch(r"(?:19|20)\d\d", phrase):
            earlier = k + 1
        elif items[k].tag not in _ADDED or (earlier and items[k].tag == "WORD" and not phrase.isalpha()):
            break
    if not earlier or items[earlier - 1].phrase not in _ALONE:
        return 0
    alone = earlier == len(items) or items[earlier].tag in ("COMMA", "STOP", "VERB", "PREP") or _ends(items, earlier)
    return earlier if alone else 0


def _ends(items: Sequence[Item], i: int) -> bool:
    return not items[i].phrase[0].isalnum()


def _date_end(items: Sequence[Item], i: int) -> int:
    """The number of the item behind "of 2015", "from yesterday"; 0 if there is none at i."""
    if i + 1 < len(items) and items[i].phrase in _DATED and _DATE.fullmatch(items[i + 1].phrase):
        return min(i + 2 + (items[i + 1].phrase == "last"), len(items))
    return 0


def is_study(items: Sequence[Item], i: int) -> bool:
    """Whether what follows item i, a negation, is a study ("no prior films", "in the absence of priors")."""
    if items[i].phrase.startswith("neg"):
        return False  # "a negative study for pneumonia"
    for k in range(i + 1, min(i + 2 + _MOST_WORDS, len(items))):
        phrase = items[k].phrase
        after = items[k + 1] if k + 1 < len(items) else None
        if items[k].tag == THEN and phrase not in terms.FORMERLY:
            return True
        if phrase in terms.STUDIES:
            return after is None or after.phrase not in terms.SHOWN
        named = phrase in ("prior", "previous") and (after is None or after.tag != "WORD" or _ends(items, k + 1))
        if named and (after is None or after.tag in ("COMMA", "VERB", "PREP", "STOP", "WORD")):
            return True
        if items[k].tag not in _ADDED and phrase != "of":
            return False
    return False


def is_about_earlier(items: Sequence[Item]) -> bool:
    """Whether a clause tells what an earlier film showed, and nothing of this one."""
    if not [item for item in items if item.tag == THEN and item.phrase not in terms.FORMERLY]:
        return False
    if any(item.phrase in terms.LOOKING_BACK or item.tag in ("GONE", "CANNOT") for item in items):
        return False  # "not seen on the prior film": it is seen now
    phrases = {item.phrase for item in items}
    told = not phrases.isdisjoint(terms.PAST) or any(item.tag == "NEG" for item in items)
    ended = any(item.tag == "CHANGE" or item.phrase in terms.RESOLVED for item in items)
    return told and not ended and phrases.isdisjoint(terms.TODAY)


def was_then(items: Sequence[Item], start: int, end: int) -> bool:
    """Whether items `start` .. `end` speak of an earlier film: "not previously seen", "absent before"."""
    near = items[start - _leads(items, start) : end + 1]
    behind = end + 1
    while behind < len(items) and items[behind].tag in ("WORD", "THE", "FILL"):
        behind += 1
    return any(item.tag == THEN for item in (*near, *items[behind : behind + 1]))


def _leads(items: Sequence[Item], start: int) -> bool:
    """Whether an adverb before a negation belongs to it ("previously not seen"), not to a participle before that."""
    if not start or items[start - 1].phrase not in terms.FORMERLY:
        return False
    return start < 2 or (items[start - 2].tag != "SEEN" and not items[start - 2].phrase.endswith("ed"))
