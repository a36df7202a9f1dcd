"""Which observations of a sentence are present, absent or uncertain.

A sentence is cut into clauses; in each, cues set a state that runs forward ("no", "possible") or look back
("is not seen", "cannot be excluded"). The idea is NegEx (Chapman et al., J. Biomed. Inform. 2001) with
list-aware scopes.

Decisions:
  - "likely", "probably", "consistent with" commit the reader: present. "possible", "may represent",
    "suspicious for", "versus", "cannot exclude", "history of", "if", "recommend": uncertain (OBS-U, sets no
    label).
  - "atelectasis or scar" without a negation: both uncertain, the reader did not choose.
  - "no change in the effusion", "not increased": says that it is there. "no longer seen", "has resolved":
    absent.
  - A negated list runs over commas, "or", "and" until a verb with a new subject, "but", "with", or a comma
    or "and" after which all entries begin with a word of size or course ("no effusion, mild cardiomegaly").
    "Large" and "severe" do not end it: "no large effusion" is what readers write.
  - "almost resolved" is present; "not well seen" uncertain; what somebody "was notified of" is uncertain: the
    sentence reports a call, the finding stands elsewhere.
"""

import itertools
from collections.abc import Sequence

from data_pipelines.reports import terms
from data_pipelines.reports.tokens import Item

PRESENT, ABSENT, UNCERTAIN = "OBS-DP", "OBS-DA", "OBS-U"
OBSERVATIONS = frozenset({"FINDING", "QUALITY"})
PLACES = frozenset({"ROOT", "ZONE", "SIDE"})
_PREDICATES = frozenset({"VERB", "NEG", "THERE", *OBSERVATIONS})
_LINKS = frozenset({"COMMA", "AND"})
_COURSE = frozenset({"SIZE", "QUALITY"})
_POINTS = frozenset(",.;?!)")


def clauses(items: Sequence[Item]) -> list[list[Item]]:
    """Cut a sentence where a new statement begins: "but", "there is", ", no ...", "and the heart is ..."."""
    cuts = {0, len(items)}
    start, link = 0, None
    for i, item in enumerate(items):
        if item.tag == "STOP" or (item.tag == "THERE" and _predicated(items[start:i])):
            start = i
            cuts.add(i)
        elif link is not None and _begins_at_link(items, start, link, i):
            start = link
            cuts.add(link)
        if item.tag in _LINKS:
            link = i
    edges = sorted(cuts)
    return [list(items[a:b]) for a, b in itertools.pairwise(edges)]


def _begins_at_link(items: Sequence[Item], start: int, link: int, i: int) -> bool:
    if items[i].tag == "NEG":
        if items[i].phrase == "not":
            return link == i - 1 and items[i + 1].tag == "PREP"
        return link == i - 1 and items[i].phrase != "nor" and not _answers(items, i)
    return items[i].tag == "VERB" and link > start and _new_subject(items, start, link, i)


def _answers(items: Sequence[Item], i: int) -> bool:
    """Whether a negation ends its statement and so denies what stands before it ("effusion: none")."""
    last = i + 1 == len(items) or items[i + 1].phrase in _POINTS
    following = _next(items, i + 1)
    seen = items[i].phrase == "none" and following is not None and following.tag == "SEEN"
    return items[i].phrase in ("no", "none") and (last or seen)


def _predicated(items: Sequence[Item]) -> bool:
    return any(item.tag in _PREDICATES for item in items)


def _new_subject(items: Sequence[Item], start: int, link: int, verb: int) -> bool:
    """Whether the verb speaks of what stands after the link and not of a list that the link belongs to."""
    if any(item.tag == "PREP" for item in items[link + 1 : link + 2]):
        return False
    follower = _next(items, verb + 1)
    seen = follower is not None and follower.tag in ("SEEN", "GONE")
    named = any(item.tag in PLACES | OBSERVATIONS | {"WORD"} for item in items[link + 1 : verb])
    return named and not seen and _predicated(items[start:link])


def _next(items: Sequence[Item], i: int) -> Item | None:
    """The next item that is not an unknown word (an adverb, mostly) or an article."""
    return next((item for item in items[i:] if item.tag not in ("WORD", "THE", "VERB", "SIZE")), None)


def assert_clause(items: Sequence[Item]) -> None:
    """Set `status` of the observations of one clause."""
    state = PRESENT
    for i, item in enumerate(items):
        if item.tag in OBSERVATIONS:
            item.status = state
            continue
        state = _state_after(items, i, state)
    _alternatives(items)


def _state_after(items: Sequence[Item], i: int, state: str) -> str:
    item = items[i]
    if item.tag == "NEG":
        return _after_negation(items, i)
    if item.tag == "CANNOT":
        following = _next(items, i + 1)
        if following is not None and following.tag == "EXCLUDE":
            return _after_exclusion(items, i, UNCERTAIN)
        if following is not None and following.tag == "SEEN":
            return _look_back(items, i, UNCERTAIN) or UNCERTAIN
        return UNCERTAIN if item.phrase.startswith(("can", "could", "difficult", "hard")) else ABSENT
    if item.tag == "EXCLUDE":
        doubted = state == UNCERTAIN or any(x.tag in ("CANNOT", "NEG") for x in items[max(0, i - 4) : i])
        return _after_exclusion(items, i, UNCERTAIN if doubted else ABSENT)
    if item.tag == "GONE":
        if _ending(items, i) != ABSENT:
            return state if state == UNCERTAIN else PRESENT
        _look_back(items, i, ABSENT)
        return state
    if item.tag == "TOLD":
        return UNCERTAIN
    if item.tag in ("MAYBE", "VERSUS"):
        return _after_doubt(items, i, state)
    if state != PRESENT and _scope_ends(items, i, state):
        return PRESENT
    return state


def _after_negation(items: Sequence[Item], i: int) -> str:
    following = _next(items, i + 1)
    if following is not None and following.tag == "CHANGE":
        return PRESENT
    if items[i].phrase in terms.RESOLVED and _ending(items, i) != ABSENT:
        return _ending(items, i)
    if _answers(items, i):
        return _look_back(items, i, ABSENT) or ABSENT
    looks_back = items[i].phrase in ("not", "no longer", "isn't", "aren't", "never")
    if looks_back and following is not None and following.tag == "EXCLUDE":
        return UNCERTAIN
    if looks_back and following is not None and following.tag == "SEEN":
        faint = any(item.phrase in terms.FAINT for item in items[i + 1 : i + 3])
        status = UNCERTAIN if faint else ABSENT
        return _look_back(items, i, status) or status
    if items[i].phrase in ("resolved", "negative", "resolution of") and following is None:
        return _look_back(items, i, ABSENT) or ABSENT
    return ABSENT


def _after_exclusion(items: Sequence[Item], i: int, status: str) -> str:
    """ "Opacity, rule out pneumonia" speaks of what follows, "pneumonia is ruled out" of what stands before."""
    passive = any(item.phrase in ("excluded", "ruled out") for item in items[i : i + 4])
    if not passive and _next_observation(items, i):
        return UNCERTAIN
    return _look_back(items, i, status) or UNCERTAIN


def _ending(items: Sequence[Item], i: int) -> str:
    """What an ending ("resolution of") says of its finding, by the three words before it."""
    near = itertools.takewhile(lambda item: item.tag not in OBSERVATIONS | PLACES, reversed(items[max(0, i - 3) : i]))
    before = {item.phrase for item in near}
    if before & terms.EXPECTED:
        return UNCERTAIN
    return PRESENT if before & terms.INCOMPLETE else ABSENT


def _after_doubt(items: Sequence[Item], i: int, state: str) -> str:
    if items[i].tag == "VERSUS":
        before = [item for item in items[:i] if item.tag in OBSERVATIONS]
        if before:
            before[-1].status = UNCERTAIN
        return UNCERTAIN
    pointing = items[i].phrase.startswith(("suggest", "suspicio", "concern", "worrisome"))
    if state == ABSENT and (pointing or not _named_since(items, i, "NEG")):
        return ABSENT
    phrase = items[i].phrase
    subject = {"VERB", "WORD", *(OBSERVATIONS if phrase.endswith("likely") else ())}
    predicative = i > 0 and items[i - 1].tag in subject and _next_observation(items, i) is None
    if predicative or phrase == "less likely than":
        _look_back(items, i, UNCERTAIN)
    return UNCERTAIN


def _next_observation(items: Sequence[Item], i: int) -> Item | None:
    return next((item for item in items[i:] if item.tag in OBSERVATIONS), None)


def _named_since(items: Sequence[Item], i: int, tag: str) -> bool:
    for item in reversed(items[:i]):
        if item.tag in OBSERVATIONS:
            return True
        if item.tag == tag:
            return False
    return False


def _look_back(items: Sequence[Item], i: int, status: str) -> str:
    """Give `status` to every observation before item i; the state after it is then "present" ("" if there
    was none).
    """
    found = [item for item in items[:i] if item.tag in OBSERVATIONS]
    for item in found:
        item.status = status
    return PRESENT if found else ""


def _scope_ends(items: Sequence[Item], i: int, state: str) -> bool:
    item = items[i]
    if item.tag in ("WITH", "BECAUSE"):
        return state == ABSENT and item.phrase in ("with", "due to", "secondary to") and _named_since(items, i, "NEG")
    if item.tag not in _LINKS or not _named_since(items, i, "NEG" if state == ABSENT else "MAYBE"):
        return False
    if any(later.tag == "OR" or later.phrase == "nor" for later in items[i:]):
        return False
    entries = _entries(items[i:]) if state == ABSENT else [items[i + 1 :]]
    return all(entry and _begins_statement(entry[0]) for entry in entries or [items[i + 1 :]])


def _entries(items: Sequence[Item]) -> list[list[Item]]:
    """The parts of a list that name an observation; a comma inside one ("small, loculated effusion") is no cut."""
    entries: list[list[Item]] = []
    current: list[Item] = []
    for item in items:
        if item.tag not in _LINKS:
            current.append(item)
        elif _next_observation(current, 0):
            entries.append(current)
            current = []
    return [*entries, current] if _next_observation(current, 0) else entries


def _begins_statement(item: Item) -> bool:
    return item.tag in (*_COURSE, "BECAUSE", "PREP") and item.phrase not in terms.DENIED_SIZES


def _alternatives(items: Sequence[Item]) -> None:
    """ "A or B" that nothing denies: the reader left it open."""
    if any(item.tag == "NEG" for item in items):
        return
    for i, item in enumerate(items):
        if item.tag != "OR":
            continue
        before = next((x for x in reversed(items[:i]) if x.tag in OBSERVATIONS), None)
        after = next((x for x in items[i + 1 :] if x.tag in OBSERVATIONS), None)
        if before and after and before.tag == after.tag == "FINDING" and before.status == after.status == PRESENT:
            before.status = after.status = UNCERTAIN
