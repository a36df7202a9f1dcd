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
  - A negated list ends at a verb with a new subject, "but", "with", a dash, colon or bracket; at a comma or "and"
    before a side, zone, article, device or predicate of its own ("no effusion, left basilar opacity", "no edema,
    heart enlarged"), or where all entries begin with a word of size or course ("no effusion, mild cardiomegaly"); not
    before a later "or". "Large" and "severe" do not end it: "no large effusion" is what readers write (`scopes`).
  - "Non-" denies the word behind it alone: a non-displaced fracture is one (`assert_clause`).
  - "Not seen on the prior film" says that it is there now; what an earlier film showed is uncertain; "no prior films"
    denies no finding (`earlier`).
  - "Pneumonia is possible", "effusion may be present", "nodule?" doubt what stands before; "the effusion may be
    larger" doubts no effusion (`doubts`).
  - "almost resolved" is present; "not well seen" uncertain; what somebody "was notified of" is uncertain: the
    sentence reports a call, the finding stands elsewhere.
"""

import itertools
from collections.abc import Sequence

from data_pipelines.reports import terms
from data_pipelines.reports.clauses import LINKS, OBSERVATIONS, PLACES, answers, next_item
from data_pipelines.reports.doubts import advises, doubted_course, doubts_before, is_pointing, question_starts
from data_pipelines.reports.earlier import THEN, is_about_earlier, is_study, was_then
from data_pipelines.reports.scopes import named_since, next_observation, scope_ends
from data_pipelines.reports.tokens import Item

PRESENT, ABSENT, UNCERTAIN = "OBS-DP", "OBS-DA", "OBS-U"


def assert_clause(items: Sequence[Item]) -> None:
    """Set `status` of the observations of one clause."""
    state = PRESENT
    for i, item in enumerate(items):
        if item.tag in OBSERVATIONS:
            item.status = ABSENT if i and items[i - 1].phrase == "non" else state
            continue
        state = _state_after(items, i, state)
    alternatives(items)
    doubtful = 0 if is_about_earlier(items) else question_starts(items)
    for item in items[doubtful:]:
        if item.tag in OBSERVATIONS and (item.status == PRESENT or doubtful == 0):
            item.status = UNCERTAIN


def _state_after(items: Sequence[Item], i: int, state: str) -> str:
    item = items[i]
    if item.tag == "NEG":
        return _after_negation(items, i, state)
    if item.tag == "CANNOT":
        return _after_inability(items, i)
    if item.tag == "EXCLUDE":
        before = items[max(0, i - 4) : i]
        doubted = state == UNCERTAIN or any(x.tag in ("CANNOT", "NEG") or x.phrase in terms.NEEDING for x in before)
        return _after_exclusion(items, i, UNCERTAIN if doubted else ABSENT)
    if item.tag == "GONE":
        return _after_ending(items, i, state)
    if item.tag == "TOLD":
        return UNCERTAIN
    if item.tag in ("MAYBE", "VERSUS"):
        return _after_doubt(items, i, state)
    if item.phrase in terms.EXAMPLES and _denied_complication(items, i):
        return ABSENT
    if state != PRESENT and scope_ends(items, i, cue="NEG" if state == ABSENT else "MAYBE"):
        return PRESENT
    return state


def _denied_complication(items: Sequence[Item], i: int) -> bool:
    named = [k for k in range(i) if items[k].phrase in terms.COMPLICATIONS]
    return bool(named) and any(item.tag == "NEG" for item in items[: named[-1]])


def _after_negation(items: Sequence[Item], i: int, state: str) -> str:
    phrase = items[i].phrase
    following = next_item(items, i + 1)
    if items[0].tag == THEN and phrase == "not" and (following is None or following.tag not in ("SEEN", "ARISE")):
        named = any(item.phrase in ("this", "these", "the") for item in items[i:])
        return PRESENT if named else UNCERTAIN
    if _denies_word(items, i):
        return state
    if is_study(items, i) or (following is not None and following.tag == "CHANGE"):
        return PRESENT
    if phrase in terms.RESOLVED and _ending(items, i) != ABSENT:
        return _ending(items, i)
    if answers(items, i):
        return _look_back(items, i, ABSENT) or ABSENT
    if phrase == "no longer" and following is not None and following.tag == "THERE":
        return _look_back(items, i, ABSENT) or ABSENT
    looks_back = phrase in terms.LOOKING_BACK
    if looks_back and following is not None and following.tag == "EXCLUDE":
        return UNCERTAIN
    if looks_back and following is not None and following.tag in ("SEEN", "ARISE"):
        if was_then(items, i, items.index(following, i)):
            return state
        faint = any(item.phrase in terms.FAINT for item in items[i + 1 : i + 3])
        status = UNCERTAIN if faint else ABSENT
        return _look_back(items, i, status) or status
    if phrase in ("resolved", "negative", "resolution of", "lacking") and following is None:
        return _look_back(items, i, ABSENT) or ABSENT
    return ABSENT


def _denies_word(items: Sequence[Item], i: int) -> bool:
    """Whether a negation denies an adjective or verb alone: "not angulated fracture", "fails to reach the carina"."""
    follower = items[i + 1].phrase if i + 1 < len(items) else ""
    if items[i].phrase.startswith("fail"):
        return follower not in terms.SHOWING
    predicate = i > 0 and (items[i - 1].tag in ("VERB", "MAYBE") or items[i - 1].phrase == "did")
    adjective = items[i + 1 : i + 2] and items[i + 1].tag == "WORD" and follower.endswith(("ed", "ent", "ant"))
    return items[i].phrase == "not" and not predicate and bool(adjective) and next_observation(items, i) is not None


def _after_inability(items: Sequence[Item], i: int) -> str:
    """ "Cannot exclude", "cannot be seen", "difficult to"."""
    following = next_item(items, i + 1)
    if following is not None and following.tag == "EXCLUDE":
        return _after_exclusion(items, i, UNCERTAIN)
    if following is not None and following.tag == "SEEN":
        if was_then(items, i, items.index(following, i)):
            return PRESENT
        return _look_back(items, i, UNCERTAIN) or UNCERTAIN
    # "not entirely consolidated", but "unable to assess the effusion"
    return ABSENT if items[i].phrase in ("not entirely", "not completely", "not definitely") else UNCERTAIN


def _after_ending(items: Sequence[Item], i: int, state: str) -> str:
    if was_then(items, i, i) or (items[i].phrase == "absent" and is_study(items, i)):
        return state
    if _ending(items, i) != ABSENT:
        return state if state == UNCERTAIN else PRESENT
    if not _look_back(items, i, ABSENT) and items[i].phrase == "absent":
        return ABSENT
    return state


def _after_exclusion(items: Sequence[Item], i: int, status: str) -> str:
    """ "Opacity, rule out pneumonia" speaks of what follows, "pneumonia is ruled out" of what stands before."""
    passive = any(item.tag == "EXCLUDE" and item.phrase.endswith(("ed", "ruled out")) for item in items[i : i + 4])
    if not passive and next_observation(items, i):
        before = items[i - 1] if i else items[i]
        subject = before.tag == "ROOT" or (before.tag == "COMMA" and items[i].phrase.endswith(("ing", "ing out")))
        proven = status == ABSENT and subject  # "sharp angles exclude an effusion", "..., excluding an effusion"
        return ABSENT if proven else UNCERTAIN
    if status == UNCERTAIN:
        return _doubt_back(items, i) or UNCERTAIN
    return _look_back(items, i, status) or UNCERTAIN


def _ending(items: Sequence[Item], i: int) -> str:
    """What an ending ("resolution of") says of its finding, by the three words before it and two behind it."""
    near = itertools.takewhile(lambda item: item.tag not in OBSERVATIONS | PLACES, reversed(items[max(0, i - 3) : i]))
    before = {item.phrase for item in near}
    if before & terms.EXPECTED:
        return UNCERTAIN
    behind = {item.phrase for item in items[i + 1 : i + 3] if item.phrase.endswith(("ly", " part", "almost"))}
    return PRESENT if (before | behind) & terms.INCOMPLETE else ABSENT


def _after_doubt(items: Sequence[Item], i: int, state: str) -> str:
    if items[i].tag == "VERSUS":
        before = [item for item in items[:i] if item.tag in OBSERVATIONS]
        if before:
            before[-1].status = UNCERTAIN
        return UNCERTAIN
    if state == ABSENT and (is_pointing(items[i]) or not named_since(items, i, "NEG")):
        return ABSENT
    if doubted_course(items, i) or advises(items, i):
        return state
    if doubts_before(items, i):
        if state == ABSENT and not any(item.tag in LINKS for item in items[:i]):
            return ABSENT  # "no nodule could be found"
        found = _doubt_back(items, i)
        return UNCERTAIN if items[i].phrase.endswith("than") else found or UNCERTAIN
    return UNCERTAIN


def _doubt_back(items: Sequence[Item], i: int) -> str:
    """As `_look_back`, for the last entry alone where commas part statements ("cardiomegaly, edema may be present")."""
    commas = [k for k in range(i) if items[k].tag == "COMMA" and next_observation(items[:i], k)]
    listed = any(item.tag in ("OR", "AND", "VERSUS") for item in items[:i])
    start = commas[0] if len(commas) == 1 and not listed else 0
    return _look_back(items[start:i], i - start, UNCERTAIN)


def _look_back(items: Sequence[Item], i: int, status: str) -> str:
    """Give `status` to every observation before item i; the state after it is then "present" ("" if there
    was none).
    """
    found = [item for item in items[:i] if item.tag in OBSERVATIONS]
    for item in found:
        item.status = status
    return PRESENT if found else ""


def alternatives(items: Sequence[Item]) -> None:
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
