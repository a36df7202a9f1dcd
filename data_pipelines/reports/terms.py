"""The words of chest X-ray reports: what `reports.extract` knows, read from assets/terms.toml, which explains them."""

import tomllib
from importlib import resources

_TABLES = tomllib.loads((resources.files("data_pipelines") / "assets" / "terms.toml").read_text(encoding="utf-8"))

# value -> its phrases
FINDINGS: dict[str, list[str]] = _TABLES["findings"]
QUALITIES: dict[str, list[str]] = _TABLES["qualities"]
ROOTS: dict[str, list[str]] = _TABLES["roots"]
ZONES: dict[str, list[str]] = _TABLES["zones"]
SIDES: dict[str, list[str]] = _TABLES["sides"]

RESOLVED = frozenset(_TABLES["resolved"])
# tag -> its phrases
GRAMMAR: dict[str, list[str]] = _TABLES["grammar"]
GRAMMAR["NEG"] += _TABLES["resolved"]

# Sets of phrases that rules ask for. Those that stand in no other table are words without a tag.
STUDIES = frozenset(_TABLES["studies"])
SHOWN = frozenset(_TABLES["shown"])
EARLIER = frozenset(_TABLES["earlier"])
FORMERLY = frozenset(_TABLES["formerly"])
PAST = frozenset(_TABLES["past"])
TODAY = frozenset(_TABLES["today"])
EXISTING = frozenset(_TABLES["existing"])
COMPLICATIONS = frozenset(_TABLES["complications"])
EXAMPLES = frozenset(_TABLES["examples"])
ADVISING = frozenset(_TABLES["advising"])
DOUBTED = frozenset(_TABLES["doubted"])
NEEDING = frozenset(_TABLES["needing"])
LOOKING_BACK = frozenset(_TABLES["looking_back"])
ASPECTS = frozenset(_TABLES["aspects"])
SHOWING = frozenset(_TABLES["showing"])
DEVICES = frozenset(_TABLES["devices"])
OPENING = frozenset(_TABLES["opening"])
STATING = frozenset(_TABLES["stating"])
COURSES = frozenset(_TABLES["courses"])
ABBREVIATIONS: list[str] = _TABLES["abbreviations"]

# value -> the roots at which it means something
ONLY_AT = {value: frozenset(roots) for value, roots in _TABLES["only_at"].items()}
# (value, root) -> value
RENAMED = {(value, root): name for value, names in _TABLES["renamed"].items() for root, name in names.items()}
HOMES: dict[str, str] = _TABLES["homes"]
# phrase -> root
FINDING_PLACES = {phrase: root for root, phrases in _TABLES["finding_places"].items() for phrase in phrases}
SHORT: dict[str, str] = _TABLES["short"]

DESCRIBING = frozenset(_TABLES["describing"])
TRANSITIVE = frozenset(_TABLES["transitive"])
INCOMPLETE = frozenset(_TABLES["incomplete"])
EXPECTED = frozenset(_TABLES["expected"])
FAINT = frozenset(_TABLES["faint"])
DENIED_SIZES = frozenset(_TABLES["denied_sizes"])

_TAGGED = (ROOTS, ZONES, SIDES, FINDINGS, QUALITIES, GRAMMAR)
_written = {phrase for table in _TAGGED for phrases in table.values() for phrase in phrases}
_ASKED_FOR = STUDIES | SHOWN | EARLIER | FORMERLY | PAST | EXISTING | EXAMPLES | NEEDING | OPENING
GRAMMAR["WORD"] += sorted(_ASKED_FOR - _written)
# Words that are an observation or a place by themselves.
WORDS = frozenset(
    phrase for table in _TAGGED[:-1] for phrases in table.values() for phrase in phrases if " " not in phrase
)
