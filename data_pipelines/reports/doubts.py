"""What a word of doubt says of the findings before and behind it."""

from collections.abc import Sequence

from data_pipelines.reports import terms
from data_pipelines.reports.clauses import OBSERVATIONS
from data_pipelines.reports.scopes import named_since, next_observation
from data_pipelines.reports.tokens import Item

_MODAL = frozenset({"may", "might", "could", "may not", "might not"})
_ADVERBS = frozenset({"possibly", "potentially", "perhaps", "conceivably"})
_BEING = frozenset({"should be", "would be"})
_ADVISED = frozenset({"should be", "considered", "recommended", "advised", "suggested"})
_PASSED = frozenset({"WORD", "THE", "SIZE"})
_REACH = 5


def doubts_before(items: Sequence[Item], i: int) -> bool:
    """Whether the cue at i doubts a finding before it: "pneumonia is possible", "effusion may be present"."""
    phrase = items[i].phrase
    if any(item.phrase in terms.ASPECTS for item in items[:i]):
        return False
    if phrase in _MODAL or phrase == "if":
        return _doubts_being(items, i)
    if phrase == "less likely than":
        return True
    following = items[i + 1] if i + 1 < len(items) else items[i]
    if following.phrase in terms.COURSES:
        return False  # "must be considered new"
    doubted, ends = phrase in terms.DOUBTED, _ends(items, i)
    ahead = following.tag != "AND" and next_observation(items, i)
    if phrase in terms.ADVISING or ahead or (phrase in _ADVERBS and not ends):
        return doubted and ends and _stands_alone(items, i)
    before = next((x for x in reversed(items[:i]) if x.tag not in _PASSED or x.phrase in terms.NEEDING), None)
    if before is None:
        return False
    if before.tag in OBSERVATIONS:
        return phrase.endswith("likely") or (doubted and ends)
    if before.tag == "COMMA" or before.phrase == ":":
        return doubted and ends
    return before.tag == "VERB" or before.phrase in terms.NEEDING | _BEING or (doubted and before.tag == "SEEN")


def _ends(items: Sequence[Item], i: int) -> bool:
    """Whether a cue ends its statement ("effusion, possible."; "nodule suspected in the left lung")."""
    if i + 1 == len(items) or items[i + 1].tag == "AND" or not items[i + 1].phrase[0].isalnum():
        return True
    return items[i + 1].tag == "PREP" and items[i].phrase in terms.DOUBTED - _ADVERBS


def _stands_alone(items: Sequence[Item], i: int) -> bool:
    """Between commas behind a finding: "fracture, possible, of the left rib"."""
    return i > 1 and items[i - 1].tag == "COMMA" and items[i + 1 : i + 2] != [] and items[i + 1].tag == "COMMA"


def _doubts_being(items: Sequence[Item], i: int) -> bool:
    """Whether "may" and "if" go on with a verb of being there: "may be present", "might have developed"."""
    for item in items[i + 1 : i + 1 + _REACH]:
        if item.tag in ("SEEN", "EXCLUDE"):
            return True
        if item.tag == "ARISE" or item.phrase in terms.EXISTING:
            return next_observation(items, i) is None
        if item.tag not in ("VERB", "WORD", "THE", "SIZE"):
            return False
    return False


def advises(items: Sequence[Item], i: int) -> bool:
    """Whether a study is recommended and no finding doubted: "CT should be considered for the nodule"."""
    studied = any(item.phrase in terms.STUDIES for item in items[:i])
    return studied and items[i].phrase in _ADVISED and next_observation(items[:i], 0) is None


def is_pointing(item: Item) -> bool:
    """Words that a negation reaches through: "no opacity to suggest pneumonia"."""
    return item.phrase.startswith(("suggest", "suspicio", "concern", "worrisome"))


def doubted_course(items: Sequence[Item], i: int) -> bool:
    """ "Unclear whether the effusion is new" doubts its age and not that it is there."""
    if "whether" not in items[i].phrase and not items[i].phrase.endswith(" if"):
        return False
    courses = [k for k in range(i, len(items)) if items[k].phrase in terms.COURSES]
    return bool(courses) and items[courses[0] - 1].tag in ("VERB", "WORD") and named_since(items, courses[0], "MAYBE")


def question_starts(items: Sequence[Item]) -> int:
    """From which item on a clause is a question; its length if it is none."""
    if not items or items[-1].phrase != "?":
        return len(items)
    commas = [k for k, item in enumerate(items) if item.tag == "COMMA" and next_observation(items, k)]
    return commas[-1] if commas else 0
