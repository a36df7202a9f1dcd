"""Which parts of a report describe this image: its section headers."""

import re

from data_pipelines.reports.headers import Role, at_line_start, describes, headers, names_film, words_of
from data_pipelines.reports.markup import plain_text
from data_pipelines.reports.policy import Section

# "FINDINGS AND IMPRESSION" is of either section.
_SECTIONS = {"findings": {"finding"}, "impression": {"impression", "conclusion"}}
_BLANK_LINE = re.compile(r"\S[ \t]*\n[ \t]*\n")
_SENTENCE_END = re.compile(r"[.?!](?=\s|$)|\n(?=\s*[A-Z]|[ \t]*\n)")


def read_sections(text: str) -> list[str]:
    """The parts of a report that describe this image, in order, as plain text (`markup.plain_text`).

    Left out: INDICATION, HISTORY, REASON, RECOMMENDATION and their like up to the next header or blank line; of
    COMPARISON, TECHNIQUE, VIEWS, EXAMINATION, PRIOR FILM the first sentence, since what follows it without a header is
    often the description itself, but all where FINDINGS follow. Any other header ("CHEST, TWO VIEWS:") begins a part
    that is read, and stays in it; before the first FINDINGS or IMPRESSION only if it names the film or what it shows.

    >>> read_sections("INDICATION: effusion? FINDINGS: Clear lungs.")
    [' Clear lungs.']
    """
    text = plain_text(text)
    parts, start, role = [], 0, Role.READ
    for match, following in _ruled(list(headers(text))):
        if following is Role.OTHER and role is Role.READ:
            continue
        parts.append(_kept(text[start : match.start()], role))
        other = following is Role.OTHER
        start, role = (match.start("name"), Role.READ) if other else (match.end(), following)
    return [part for part in (*parts, _kept(text[start:], role)) if part.strip()]


def _ruled(found: list[tuple[re.Match, Role]]) -> list[tuple[re.Match, Role]]:
    """Headers with roles by what follows: before the first FINDINGS or IMPRESSION, little describes this image."""
    describing = [i for i, (match, role) in enumerate(found) if role is Role.READ and describes(match)]
    if not describing:
        return [(match, Role.ONE_SENTENCE if role is Role.EARLIER else role) for match, role in found]
    first, last = describing[0], describing[-1]
    told = "finding" in words_of(found[first][0])
    ruled = []
    for i, (match, role) in enumerate(found):
        unknown = role is Role.OTHER and at_line_start(match) and not names_film(match)
        if i < first and (unknown or (role is Role.ONE_SENTENCE and told)):
            role = Role.SKIPPED
        elif role is Role.EARLIER:
            role = Role.SKIPPED if i < last else Role.ONE_SENTENCE
        ruled.append((match, role))
    return ruled


def select_section(report: str, section: Section) -> str:
    """The text of one section of a report with headers, without its header; "" if it has none. "both" is all of it.

    A header of this or another describing section ends it, and one of those that are left out at the start of a line.
    Others ("Heart:") are part of it.

    >>> select_section("FINDINGS: Heart: Normal. Lungs: Clear.\\nIMPRESSION: Normal.", "findings")
    'Heart: Normal. Lungs: Clear.'
    """
    if section == "both":
        return report
    report = plain_text(report)
    parts, start = [], None
    for match, role in headers(report):
        if role is Role.OTHER or (role is not Role.READ and not at_line_start(match)):
            continue
        if start is not None:
            parts.append(report[start : match.start()].strip())
        wanted = role is Role.READ and not _SECTIONS[section].isdisjoint(words_of(match))
        start = match.end() if wanted else None
    rest = "" if start is None else report[start:].strip()
    return "\n".join(filter(None, [*parts, rest]))


def _kept(part: str, role: Role) -> str:
    if role is Role.READ:
        return part
    part = part.lstrip()
    end = (_BLANK_LINE if role is Role.SKIPPED else _SENTENCE_END).search(part)
    return part[end.end() :] if end else ""
