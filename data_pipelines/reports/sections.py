"""Which parts of a report describe this image: its section headers."""

import enum
import re
from collections.abc import Iterator

from data_pipelines.reports.policy import Section

_DESCRIBING = "findings?|impressions?|conclusions?"
_READ = rf"{_DESCRIBING}|final report|interpretation|wet read|opinion|results?|addendum|summary|observations?"
_ONE_SENTENCE = "comparisons?|techniques?|views?|exam(?:ination)?s?|study|procedures?|date"
_SKIPPED = (
    "indications?|reason|(?:(?:clinical|past|medical|brief|surgical|patient) )*history|clinical|symptoms?"
    "|(?:underlying )?medical condition|(?:admitting|clinical) diagnosis|medications?|recommendations?"
    "|notifications?|communications?|(?:electronically )?signed|dictated|attending|patient|referring|ordering"
    "|requesting|accession|age|sex"
)
_JOINING = (
    "a|an|and|by|complaint|condition|data|date|diagnosis|exam|examination|film|findings|for|history|id|illness"
    "|indication|indications|information|name|number|of|on|or|ordered|performed|physician|present|presentation"
    "|previous|prior|procedure|provider|question|request|requested|studies|study|symptoms|technique|the|this"
    "|time|to|type|view|views|comparison|&|/"
)
_PART = re.compile(
    r"\b(?:chest|lungs?|heart|cardi\w+|pleura\w*|mediastin\w+|hila\w*|bones?|osseous|skelet\w+|soft tissues?"
    r"|diaphragms?|abdomen|airways?|lines?|tubes?|devices?|frontal|lateral|portable|radiographs?)\b",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|demonstrates?|reveals?|suggests?|remains?)\b", re.IGNORECASE
)
_HEADER = re.compile(
    r"(?:^|(?<=[.;!?]))[ \t]*(?P<name>[A-Za-z0-9][\w ,/&()'-]{0,60}?)[ \t]*:(?!\d)"
    rf"|^[ \t]*(?P<alone>(?=[A-Z])(?i:(?:{_READ}|{_SKIPPED}|{_ONE_SENTENCE})(?:[ ](?:{_JOINING})){{0,6}}))[ \t]*$",
    re.MULTILINE,
)
_DESCRIBES = re.compile(rf"(?<!clinical )\b(?:{_DESCRIBING})\b|^(?:{_READ})\b", re.IGNORECASE)
# "FINDINGS AND IMPRESSION" is of either section.
_SECTIONS = {
    "findings": re.compile(r"\bfindings?\b", re.IGNORECASE),
    "impression": re.compile(r"\b(?:impressions?|conclusions?)\b", re.IGNORECASE),
}
_BLANK_LINE = re.compile(r"\S[ \t]*\n[ \t]*\n")
_SENTENCE_END = re.compile(r"[.?!](?=\s|$)|\n(?=\s*[A-Z]|[ \t]*\n)")


class _Role(enum.Enum):
    READ = enum.auto()
    ONE_SENTENCE = enum.auto()
    SKIPPED = enum.auto()
    OTHER = enum.auto()


def read_sections(text: str) -> list[str]:
    """The parts of a report that describe this image, in order.

    Left out: INDICATION, HISTORY, REASON, RECOMMENDATION and their like up to the next header or blank line; of
    COMPARISON, TECHNIQUE, VIEWS, EXAMINATION the first sentence, since what follows it without a header is often
    the description itself. Any other header ("CHEST, TWO VIEWS:") begins a part that is read, and stays in it.
    A header ends in a colon or, if it is one of the known ones, stands alone on its line.

    >>> read_sections("INDICATION: effusion? FINDINGS: Clear lungs.")
    [' Clear lungs.']
    """
    parts, start, role = [], 0, _Role.READ
    for match, following in _headers(text):
        if following is _Role.OTHER and role is _Role.READ:
            continue
        parts.append(_kept(text[start : match.start()], role))
        other = following is _Role.OTHER
        start, role = (match.start("name"), _Role.READ) if other else (match.end(), following)
    return [part for part in (*parts, _kept(text[start:], role)) if part.strip()]


def select_section(report: str, section: Section) -> str:
    """The text of one section of a report with headers, without its header; "" if it has none. "both" is all of it.

    A header of this or another describing section ends it, and one of those that are left out at the start of a line.
    Others ("Heart:") are part of it.

    >>> select_section("FINDINGS: Heart: Normal. Lungs: Clear.\\nIMPRESSION: Normal.", "findings")
    'Heart: Normal. Lungs: Clear.'
    """
    if section == "both":
        return report
    parts, start = [], None
    for match, role in _headers(report):
        if role is _Role.OTHER or (role is not _Role.READ and not _at_line_start(match)):
            continue
        if start is not None:
            parts.append(report[start : match.start()].strip())
        wanted = role is _Role.READ and _SECTIONS[section].search(_name(match))
        start = match.end() if wanted else None
    rest = "" if start is None else report[start:].strip()
    return "\n".join(filter(None, [*parts, rest]))


def _headers(text: str) -> Iterator[tuple[re.Match, _Role]]:
    return ((match, role) for match in _HEADER.finditer(text) if (role := _role(match)) is not None)


def _name(match: re.Match) -> str:
    return " ".join((match["name"] or match["alone"]).split())


def _at_line_start(match: re.Match) -> bool:
    return match.start() == 0 or match.string[match.start() - 1] == "\n"


def _kept(part: str, role: _Role) -> str:
    if role is _Role.READ:
        return part
    part = part.lstrip()
    end = (_BLANK_LINE if role is _Role.SKIPPED else _SENTENCE_END).search(part)
    return part[end.end() :] if end else ""


def _role(match: re.Match) -> _Role | None:
    """What a header says of the text under it; None if the match is no header but a part of a sentence."""
    name = _name(match)
    if _VERB.search(name):
        return None
    if _DESCRIBES.search(name):
        return _Role.READ
    for heads, role in ((_SKIPPED, _Role.SKIPPED), (_ONE_SENTENCE, _Role.ONE_SENTENCE)):
        head = re.match(rf"(?:{heads})(?![\w-])", name, re.IGNORECASE)
        if head and (name.isupper() or _joins(name[head.end() :])):
            return role
    titled = name.isupper() or (name[0].isupper() and (_at_line_start(match) or _PART.search(name)))
    return _Role.OTHER if titled else None


def _joins(rest: str) -> bool:
    return re.fullmatch(rf"(?:[ ,()]*(?:{_JOINING}|{_SKIPPED}|{_ONE_SENTENCE})(?!\w))*[ ,()]*", rest, re.I) is not None
