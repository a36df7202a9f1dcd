"""What a clause leaves out because its neighbour says it.

    "effusion on the right but not on the left"             the second clause lacks its finding
    "right but not left effusion"                           the first one does
    "the cardiac silhouette, which remains enlarged"        "which" stands for an anatomy

Each gap is filled with copies of the neighbour's items, which keep their token numbers; all later steps then see
whole clauses.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from data_pipelines.reports.clauses import OBSERVATIONS, PLACES
from data_pipelines.reports.places import SIDED
from data_pipelines.reports.tokens import Item


def completed(found: Sequence[list[Item]]) -> list[list[Item]]:
    """The clauses of one sentence with their gaps filled, in order; a clause that denies several findings on
    the other side becomes one clause for each.
    """
    heads = [_with_head(clause, following) for clause, following in itertools.pairwise([*found, []])]
    whole: list[list[Item]] = []
    for previous, clause in itertools.pairwise([[], *heads]):
        whole.extend(_denials(previous, clause) or [_with_antecedent(previous, clause)])
    return whole


def _copies(items: Sequence[Item]) -> list[Item]:
    return [replace(item) for item in items]


def _observed(items: Sequence[Item]) -> bool:
    return any(item.tag in OBSERVATIONS for item in items)


def _trailing_place(items: Sequence[Item]) -> list[Item]:
    """The words of the anatomy that a clause ends with; empty if it ends with something else."""
    kept = list(items)
    while kept and kept[-1].tag == "COMMA":
        kept.pop()
    return list(itertools.takewhile(lambda item: item.tag in PLACES, reversed(kept)))[::-1]


def _with_head(clause: list[Item], following: list[Item]) -> list[Item]:
    """ "Right" before "but not left pleural effusion" is "right pleural effusion"."""
    place = _trailing_place(clause)
    if not place or place[-1].tag != "SIDE" or _observed(clause) or not following or following[0].phrase != "but":
        return clause
    lead = list(itertools.takewhile(lambda item: item.tag in ("STOP", "NEG", "SIZE", "THE"), following))
    rest = following[len(lead) :]
    if not rest or rest[0].tag != "SIDE":
        return clause
    head = list(itertools.takewhile(lambda item: item.tag not in OBSERVATIONS, rest[1:]))
    finding = rest[1 + len(head) : 2 + len(head)]
    return [*clause, *_copies([item for item in head if item.tag in PLACES]), *_copies(finding)]


def _denials(previous: list[Item], clause: list[Item]) -> list[list[Item]]:
    """ "But not on the left" after a finding on the right: the finding is denied there, at the same level.

    Only where both sides are anatomies of their own; of "rib fractures on the left, none on the right" no label
    could tell the sides apart.
    """
    negation = next((k for k, item in enumerate(clause) if item.phrase in ("not", "no", "none")), None)
    if negation is None or _observed(clause) or any(item.tag == "NEG" for item in previous):
        return []
    lead = itertools.takewhile(lambda item: item.tag in ("PREP", "THE"), clause[negation + 1 :])
    k = negation + 1 + len(list(lead))
    if k >= len(clause) or clause[k].tag != "SIDE" or any(_unsided(item) for item in previous):
        return []
    side, rest = clause[negation + 1 : k + 1], clause[k + 1 :]
    level = [] if any(item.tag in PLACES for item in rest) else _level(previous)
    return [
        _copies([*clause[: negation + 1], finding, *side, *level, *rest])
        for finding in previous
        if finding.tag == "FINDING"
    ]


def _unsided(item: Item) -> bool:
    return item.tag == "ROOT" and item.value not in SIDED


def _level(items: Sequence[Item]) -> list[Item]:
    """Zone and root of the last anatomy of a clause."""
    last = max((k for k, item in enumerate(items) if item.tag in PLACES), default=-1)
    return [item for item in _trailing_place(items[: last + 1]) if item.tag != "SIDE"]


def _with_antecedent(previous: list[Item], clause: list[Item]) -> list[Item]:
    first = next((item for item in clause if item.tag in OBSERVATIONS), None)
    if clause and clause[0].phrase == "which" and first is not None and first.tag == "QUALITY":
        return [*_copies(_trailing_place(previous)), *clause[1:]]
    return clause
