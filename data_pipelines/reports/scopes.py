"""How far a negation or doubt reaches: over a list, until a new statement begins."""

import itertools
from collections.abc import Sequence

from data_pipelines.reports import terms
from data_pipelines.reports.clauses import LINKS, OBSERVATIONS
from data_pipelines.reports.tokens import Item

_COURSE = frozenset({"SIZE", "QUALITY"})
_SIDES = frozenset({"SIDE", "ZONE"})
_ARTICLES = frozenset({"a", "an", "the"})


def next_observation(items: Sequence[Item], i: int) -> Item | None:
    return next((item for item in items[i:] if item.tag in OBSERVATIONS), None)


def named_since(items: Sequence[Item], i: int, tag: str) -> bool:
    """Whether an observation stands between the last item of a tag and item i."""
    for item in reversed(items[:i]):
        if item.tag in OBSERVATIONS:
            return True
        if item.tag == tag:
            return False
    return False


def scope_ends(items: Sequence[Item], i: int, *, cue: str) -> bool:
    """Whether the scope of a cue ends at item i.

    Args:
      items: a clause.
      i: number of an item behind the cue.
      cue: tag of what set the state, "NEG" or "MAYBE".
    """
    item = items[i]
    if item.tag in ("WITH", "BECAUSE"):
        return cue == "NEG" and item.phrase in ("with", "due to", "secondary to") and named_since(items, i, cue)
    if item.tag == "THE":
        return cue == "NEG" and named_since(items, i, cue) and _is_behind_ending(items, i)
    if item.tag not in LINKS or not named_since(items, i, cue):
        return False
    if any(later.tag == "OR" or later.phrase == "nor" for later in items[i:]):
        return False
    if cue == "NEG" and _is_statement(items, i):
        return True
    entries = _entries(items[i:]) if cue == "NEG" else [items[i + 1 :]]
    if any(earlier.tag == "OR" for earlier in items[:i]):
        entries = entries[:1]  # "or" closed the list of what is denied
    return all(_begins_statement(entry) for entry in entries or [items[i + 1 :]])


def _is_behind_ending(items: Sequence[Item], i: int) -> bool:
    """ "Since removal of the tube the ...": an ending denies one thing, an article without a link begins another."""
    last = next((item.phrase for item in reversed(items[:i]) if item.tag == "NEG"), "")
    ending = last in terms.RESOLVED or last.endswith("removal of")
    return ending and items[i - 1].tag not in (*LINKS, "OR", "PREP")


def _is_statement(items: Sequence[Item], i: int) -> bool:
    """Whether the entry behind link i is a statement by itself, whatever follows it: it has a side or an article ("left
    basilar atelectasis"), which lists of what is denied hardly do, or a predicate.
    """
    entry = list(itertools.takewhile(lambda item: item.tag not in LINKS, items[i + 1 :]))
    if next_observation(entry, 0) is None or any(item.tag == "NEG" for item in entry):
        return False
    if items[i].tag == "AND" and any(item.tag in _SIDES or item.phrase in terms.RESOLVED for item in items[:i]):
        return False  # "no left effusion and right pneumothorax"
    placed = entry[0].phrase in _ARTICLES or any(item.tag in _SIDES for item in entry)
    return placed or _is_said(items, i, entry) or _is_other_kind(items[:i], entry) or _is_predicate(entry)


def _is_said(items: Sequence[Item], i: int, entry: Sequence[Item]) -> bool:
    """ "No effusion, emphysema is seen": of two entries, or behind a list with its "or", the last is none of a list."""
    if items[i].tag != "COMMA" or any(item.tag in LINKS for item in items[i + 1 + len(entry) :]):
        return False
    listed = any(item.tag in LINKS and named_since(items, k, "NEG") for k, item in enumerate(items[:i]))
    if listed and not any(item.tag == "OR" for item in items[:i]):
        return False
    seen = any(a.tag == "VERB" and b.tag == "SEEN" for a, b in itertools.pairwise(entry))
    return seen or any(item.phrase in terms.STATING for item in entry)


def _is_other_kind(denied: Sequence[Item], entry: Sequence[Item]) -> bool:
    """A device behind findings that are none: "no fracture, pacemaker in place"."""
    first = next_observation(entry, 0)
    earlier = [item for item in denied if item.tag in OBSERVATIONS]
    device = first is not None and first.value in terms.DEVICES
    return device and all(item.value not in terms.DEVICES for item in earlier)


def _is_predicate(entry: Sequence[Item]) -> bool:
    """ "Heart enlarged", "effusion unchanged": an anatomy or finding and, at the end, what becomes of it."""
    ending = [item for item in entry if item.phrase[0].isalnum()]
    if len(ending) < 2:
        return False
    described = ending[-2].tag == "ROOT" and ending[-1].tag == "QUALITY"
    return described or (ending[-2].tag == "FINDING" and ending[-1].phrase in terms.COURSES)


def _entries(items: Sequence[Item]) -> list[list[Item]]:
    """The parts of a list that name an observation; a comma inside one ("small, loculated effusion") is no cut."""
    entries: list[list[Item]] = []
    current: list[Item] = []
    for item in items:
        if item.tag not in LINKS:
            current.append(item)
        elif next_observation(current, 0):
            entries.append(current)
            current = []
    return [*entries, current] if next_observation(current, 0) else entries


def _begins_statement(entry: Sequence[Item]) -> bool:
    item = next((item for item in entry if item.phrase not in terms.OPENING), None)
    return (
        item is not None
        and item.tag in (*_COURSE, "BECAUSE", "PREP", "CHANGE")
        and item.phrase not in terms.DENIED_SIZES
    )
