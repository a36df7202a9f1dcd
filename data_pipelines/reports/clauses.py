"""A sentence cut into clauses, where a new statement begins."""

import itertools
from collections.abc import Sequence

from data_pipelines.reports.tokens import Item

OBSERVATIONS = frozenset({"FINDING", "QUALITY"})
PLACES = frozenset({"ROOT", "ZONE", "SIDE"})
LINKS = frozenset({"COMMA", "AND"})
_ENDING = frozenset({"-", "–", "—", "(", ":"})
_PREDICATES = frozenset({"VERB", "NEG", "THERE", *OBSERVATIONS})
_POINTS = frozenset(",.;?!)")


def clauses(items: Sequence[Item]) -> list[list[Item]]:
    """Cut a sentence where a new statement begins: "but", "there is", ", no ...", "and the heart is ..."."""
    cuts = {0, len(items)}
    start, link = 0, None
    for i, item in enumerate(items):
        if (
            item.tag == "STOP"
            or (item.tag == "THERE" and _begins_there(items, start, i))
            or (item.phrase in _ENDING and _ends_denial(items, start, i))
        ):
            start = i
            cuts.add(i)
        elif link is not None and _begins_at_link(items, start, link, i):
            start = link
            cuts.add(link)
        elif item.tag == "COMMA" and _ends_single_denials(items, max(cuts - {start, len(items)}, default=-1), start, i):
            start = i
            cuts.add(i)
        if item.tag in LINKS:
            link = i
    edges = sorted(cuts)
    return [list(items[a:b]) for a, b in itertools.pairwise(edges)]


def _begins_there(items: Sequence[Item], start: int, i: int) -> bool:
    """A new statement with "there", but for "nor is there"."""
    if i > 0 and items[i - 1].tag == "MAYBE":
        return False
    nor = any(item.phrase == "nor" for item in items[max(start, i - 2) : i])
    ends = i + 1 == len(items) or items[i + 1].phrase in _POINTS
    return not nor and not ends and any(item.tag in _PREDICATES for item in items[start:i])


def _ends_denial(items: Sequence[Item], start: int, i: int) -> bool:
    """Whether a dash, colon or bracket ends a denial ("no pneumonia - small effusion")."""
    if not _denies(items, start, i):
        return False
    following = items[i + 1] if i + 1 < len(items) else items[i]
    if items[i].phrase == "(" and following.tag not in ("SIZE", "SIDE", "ZONE", "THE"):
        return False
    if items[i].phrase == ":" and any(item.tag == "OR" for item in items[i:]):
        return False
    listed = any(a.phrase in _ENDING and b.tag == "OR" for a, b in itertools.pairwise(items[i:]))
    return not listed and following.tag != "AND" and any(item.tag in OBSERVATIONS for item in items[i:])


def _denies(items: Sequence[Item], start: int, end: int) -> bool:
    """Whether a negation at `start` .. `end` has an observation behind it that it denies."""
    last = max((k for k in range(start, end) if items[k].tag == "NEG" and not answers(items, k)), default=end)
    return any(item.tag in OBSERVATIONS for item in items[last:end])


def _ends_single_denials(items: Sequence[Item], previous: int, start: int, i: int) -> bool:
    """Whether a list with a "no" before each entry goes on without one ("no effusion, no edema, cardiomegaly")."""
    if previous < 0 or start + 1 >= i or items[start].tag not in LINKS or items[start + 1].tag != "NEG":
        return False
    single = all(_single_denial(items[a:b]) for a, b in ((previous, start), (start, i)))
    rest = items[i + 1 :]
    return single and not any(item.tag in ("NEG", "OR", "COMMA") for item in rest)


def _single_denial(items: Sequence[Item]) -> bool:
    denied = [item for item in items if item.tag in OBSERVATIONS]
    return len(denied) == 1 and any(item.tag == "NEG" for item in items)


def _begins_at_link(items: Sequence[Item], start: int, link: int, i: int) -> bool:
    if items[i].tag == "NEG":
        if items[i].phrase == "not":
            return link == i - 1 and items[i + 1].tag == "PREP"
        return link == i - 1 and items[i].phrase != "nor" and not answers(items, i)
    return items[i].tag == "VERB" and link > start and _new_subject(items, start, link, i)


def answers(items: Sequence[Item], i: int) -> bool:
    """Whether a negation ends its statement and so denies what stands before it ("effusion: none")."""
    last = i + 1 == len(items) or items[i + 1].phrase in _POINTS
    following = next_item(items, i + 1)
    seen = items[i].phrase in ("none", "nil") and following is not None and following.tag == "SEEN"
    return items[i].phrase in ("no", "none", "nil", "neg", "negative", "resolved") and (last or seen)


def _new_subject(items: Sequence[Item], start: int, link: int, verb: int) -> bool:
    """Whether the verb speaks of what stands after the link and not of a list that the link belongs to."""
    if any(item.tag == "PREP" for item in items[link + 1 : link + 2]):
        return False
    follower = next_item(items, verb + 1)
    seen = follower is not None and follower.tag in ("SEEN", "GONE")
    if follower is not None and follower.phrase == "not" and items[link].tag == "AND":
        seen = not any(item.tag == "VERB" for item in items[start:link])  # "effusion and edema are not seen"
    named = any(item.tag in PLACES | OBSERVATIONS | {"WORD"} for item in items[link + 1 : verb])
    return named and not seen and any(item.tag in _PREDICATES for item in items[start:link])


def next_item(items: Sequence[Item], i: int) -> Item | None:
    """The next item that is not an unknown word (an adverb, mostly) or an article."""
    return next((item for item in items[i:] if item.tag not in ("WORD", "THE", "VERB", "SIZE")), None)
