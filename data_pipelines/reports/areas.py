"""One granularity for places: MeSH qualifiers and our 51 anatomies as areas.

An area is an organ, for lungs with the third (upper, middle, lower), and a side where the organ has sides:
"left lower lung", "right pleura", "heart". Both vocabularies can be brought to it, and neither is finer:

  - Lobes and lung zones of one third are one area; apices count as upper, bases as lower, the lingula as left upper (as
    SPEC 6 has it), the middle lobe as right middle.
  - "bilateral" is both sides; a third without a side is both sides too, as the landmark rules have it ("bases").
  - Interstitium, parenchyma, vasculature and "lungs" without side or third are "lung"; parts of the heart are "heart".
  - A finding with no place is at its home on both sides of the comparison ("effusion" -> "pleura").
  - What has no counterpart (shoulder, breast, lymph nodes apart from a hilum) is "other".
"""

import tomllib
from importlib import resources

from data_pipelines.reports.mesh_codes import Code
from medslip_jax.vocabulary import ANATOMIES

_SIDED = frozenset({"hilum", "pleura", "diaphragm", "costophrenic angle", "lung"})
_TABLES = tomllib.loads((resources.files("data_pipelines") / "assets" / "areas.toml").read_text(encoding="utf-8"))
_OURS = {name: organ for organ, names in _TABLES["ours"].items() for name in names}
_ORGAN_OF = {word: organ for organ, words in _TABLES["organs"].items() for word in words}
_HOMES: dict[str, str] = _TABLES["homes"]
_THIRDS = {"base": "lower", "lower lobe": "lower", "upper lobe": "upper", "apex": "upper"}
_ONE_SIDED = {"middle lobe": "right middle lung", "lingula": "left upper lung"}
_SIDES = ("left", "right")


def home(pathology: str) -> str:
    """The area of a finding that is told without a place."""
    return _HOMES.get(pathology, "lung")


def _our_areas(anatomy: str) -> frozenset[str]:
    if anatomy in _OURS:
        return frozenset({_OURS[anatomy]})
    parts = anatomy.split("_")
    side = next((part for part in parts if part in _SIDES), "")
    third = {"bases": "lower", "apices": "upper", "apical": "upper", "mid": "middle"}
    level = next((third.get(p, p) for p in parts if third.get(p, p) in ("upper", "middle", "lower")), "")
    organ = next((organ for name, organ in _OURS.items() if name in parts), "lung")
    if organ == "lung" and level and not side:
        return frozenset(f"{side} {level} lung" for side in _SIDES)
    return frozenset({" ".join(word for word in (side, level, organ) if word)})


_AREAS = {name: _our_areas(name) for name in ANATOMIES if name != "unspecified"}


def our_areas(anatomy: str, pathology: str) -> frozenset[str]:
    """Areas of one of the 51 anatomies, at which `pathology` was found.

    >>> sorted(our_areas("lung_bases", "opacity")), sorted(our_areas("unspecified", "effusion"))
    (['left lower lung', 'right lower lung'], ['pleura'])
    """
    return _AREAS.get(anatomy) or frozenset({home(pathology)})


def code_areas(code: Code, pathology: str) -> frozenset[str]:
    """Areas that a MeSH code names for the class it asserts.

    >>> from data_pipelines.reports.mesh_codes import parse_code
    >>> sorted(code_areas(parse_code("Opacity/lung/base/left"), "opacity"))
    ['left lower lung']
    """
    heading, qualifiers = code
    sides = _SIDES if "bilateral" in qualifiers else tuple(side for side in _SIDES if side in qualifiers)
    organs = {_ORGAN_OF[word] for word in (heading, *qualifiers) if word in _ORGAN_OF}
    found = set()
    if "pleura" not in organs:
        thirds = {third for word, third in _THIRDS.items() if word in qualifiers}
        found |= {f"{side} {third} lung" for third in thirds for side in sides or _SIDES}
        found |= {area for word, area in _ONE_SIDED.items() if word in qualifiers}
    for organ in organs or ({home(pathology)} if not found else ()):
        found |= {f"{side} {organ}" for side in sides} if organ in _SIDED and sides else {organ}
    return frozenset(found)


def is_placed(area: str, pathology: str) -> bool:
    """Whether an area says more than the home of its finding."""
    return area != home(pathology)
