"""The phrases of the phantom's reports, read from assets/wording.toml, which explains them."""

from typing import NamedTuple

from data_pipelines.phantom.tables import read_table

_TABLES = read_table("wording")

SECTION_ORDERS: tuple[tuple[str, ...], ...] = _TABLES["section_orders"]
OPENINGS: tuple[tuple[str, ...], ...] = _TABLES["openings"]
SECTION: dict[str, str] = _TABLES["section"]
NOUNS: dict[str, tuple[str, ...]] = _TABLES["nouns"]
ADJECTIVES: dict[str, tuple[str, ...]] = _TABLES["adjectives"]
PHRASES: dict[str, tuple[tuple[str, str], ...]] = _TABLES["phrases"]
FRAMES: tuple[str, ...] = _TABLES["frames"]
FRAMES_BARE: tuple[str, ...] = _TABLES["frames_bare"]
WHOLE: dict[str, dict[str, tuple[str, ...]]] = _TABLES["whole"]
TWO_LEADS: tuple[str, ...] = _TABLES["two_leads"]
BARE_CARDIOMEGALY: tuple[str, ...] = _TABLES["bare_cardiomegaly"]
DENIED: dict[str, tuple[str, ...]] = _TABLES["denied"]
DENIAL_RATE: dict[str, float] = _TABLES["denial_rate"]
DENIAL_TERMS: dict[str, tuple[tuple[str, str], ...]] = _TABLES["denial_terms"]
DENIAL_FRAMES: tuple[str, ...] = _TABLES["denial_frames"]
DENIED_SOMEWHERE: tuple[str, ...] = _TABLES["denied_somewhere"]
DENIED_THERE: dict[str, tuple[str, ...]] = _TABLES["denied_there"] | {
    name: tuple(frame.replace("{name}", name) for frame in _TABLES["denied_there_frames"])
    for name in _TABLES["denied_there_names"]
}
SIDED = {name: side for name in NOUNS for side in ("left", "right") if side in name.split("_")}
HEDGES: tuple[tuple[str, tuple[str, ...]], ...] = _TABLES["hedges"]
LAST_RESORT: tuple[str, tuple[tuple[str, str, bool], ...]] = _TABLES["last_resort"]


class Remark(NamedTuple):
    """A statement of normality, made at `rate` unless one of these pathologies is drawn."""

    section: str
    rate: float
    unless: frozenset[str]
    says: tuple[tuple[str, tuple[str, str, bool]], ...]


_UNLESS = {
    "any": frozenset(SECTION),
    "airspace": frozenset(name for name, section in SECTION.items() if section in ("lungs", "pleura")),
}
REMARKS = tuple(
    Remark(**remark | {"unless": _UNLESS.get(remark["unless"], frozenset({remark["unless"]}))})
    for remark in _TABLES["remarks"]
)
