"""The human MeSH codes of the IU X-Ray reports in our vocabulary: which codes mean which class and which area.

A code is a heading and qualifiers, "Opacity/lung/base/bilateral". The tables, assets/mesh_codes.toml, were fixed from
the list of headings and from what the headings mean, before any score was computed. Choices:

  - A class is judged if a heading, or a heading with a qualifier, means what our class means. Our classes
    that the coders have no code for (process, finding, tip, fluid, collapse, ...) are not judged, nor are the two
    classes that mean "anything else".
  - Several headings can mean one class where our reader's dictionary has one word for them (airspace
    disease is opacity; osteophytes, spondylosis and arthritis are degenerative; bullae are emphysema; free and
    subcutaneous air are air). A pericardial effusion is an effusion, a hemopneumothorax both its parts.
  - "Borderline" cardiomegaly is class `borderline`; whether it is `cardiomegaly` too is left open by
    both vocabularies, so that class is not judged in such a report. Atherosclerosis is seen by its calcification but a
    report may name either without the other: `calcification` is not judged there.
  - GROUPS are ours where one code covers what we split (a catheter, a line, a PICC); they are shown and not counted.
"""

import functools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

_TABLES = tomllib.loads((resources.files("data_pipelines") / "assets" / "mesh_codes.toml").read_text(encoding="utf-8"))


def _lower(headings: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {qualifier: frozenset(map(str.lower, names)) for qualifier, names in headings.items()}


# class -> {qualifier, or "any": headings that mean it with this qualifier}; "*" is any heading.
_ASSERTING = [(name, _lower({"any": headings})) for name, headings in _TABLES["headings"].items()]
_ASSERTING += [(name, _lower(table)) for name, table in _TABLES["qualified"].items()]
_DOUBTFUL = {name: _lower(table) for name, table in _TABLES["doubtful"].items()}
GROUPS = {tuple(group["classes"]): _lower(group["headings"]) for group in _TABLES["groups"]}
CLASSES = tuple(sorted({name for name, _ in _ASSERTING}))
# The coders' words for a report without codes of its own: nothing to compare with.
NOT_CODED = frozenset({"no indexing"})

Code = tuple[str, frozenset[str]]


def parse_code(text: str) -> Code:
    """Heading and qualifiers of a code, in lower case.

    >>> parse_code("Opacity/lung/base/left")[0], sorted(parse_code("Opacity/lung/base/left")[1])
    ('opacity', ['base', 'left', 'lung'])
    """
    heading, *qualifiers = (" ".join(part.split()).lower() for part in text.split("/"))
    return heading, frozenset(qualifiers)


def _named(code: Code, table: Mapping[str, frozenset[str]]) -> bool:
    heading, qualifiers = code
    return any(
        (qualifier == "any" or qualifier in qualifiers) and not headings.isdisjoint((heading, "*"))
        for qualifier, headings in table.items()
    )


@functools.lru_cache(maxsize=65536)
def code_classes(code: Code) -> frozenset[str]:
    """The classes of `CLASSES` that a code asserts."""
    found = {name for name, table in _ASSERTING if _named(code, table)}
    return frozenset(found - {name for name, table in _DOUBTFUL.items() if _named(code, table)})


def asserted(codes: Iterable[Code]) -> set[str]:
    """The classes that a report's codes assert."""
    return set().union(*map(code_classes, codes))


def doubtful(codes: Iterable[Code]) -> set[str]:
    """The classes that a report with these codes is not judged for."""
    codes = list(codes)
    return {name for name, table in _DOUBTFUL.items() if any(_named(code, table) for code in codes)} - asserted(codes)


def judged_classes(codes: Sequence[str]) -> dict[str, set[str]]:
    """{"asserted", "judged"}: classes by a report's codes as written; both empty where nothing was coded.

    What is judged and not asserted is absent: the coders list what a report asserts, "normal" if that is nothing.
    """
    parsed = [parse_code(code) for code in codes]
    if not parsed or any(heading in NOT_CODED for heading, _ in parsed):
        return {"asserted": set(), "judged": set()}
    return {"asserted": asserted(parsed), "judged": set(CLASSES) - doubtful(parsed)}


def groups(codes: Iterable[Code]) -> set[tuple[str, ...]]:
    """The keys of `GROUPS` that a report's codes assert."""
    codes = list(codes)
    return {names for names, table in GROUPS.items() if any(_named(code, table) for code in codes)}
