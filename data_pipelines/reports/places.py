"""Anatomies of a clause, and which of them an observation belongs to.

A mention is a run of side, zone and root words ("right middle lobe"); runs joined by "and", "or" or a comma
form a chain and share what they leave out ("right middle and lower lobes"). An observation takes, in this
order: the chain right before it, the chain that a quality describes ("enlarged heart"), the chain behind a
preposition, the subject of the clause, the place that the clause begins with ("at the left base an opacity"); a
transitive quality ("obscuring") takes its object before all these. "Effusions, left greater than right" are on both
sides. "Calcified" before a finding is where the finding is.
Words for both sides give one place a side where the vocabulary has both, else the unsided landmark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from data_pipelines.reports.clauses import OBSERVATIONS, PLACES
from data_pipelines.reports.terms import DESCRIBING, FINDING_PLACES, HOMES, TRANSITIVE
from data_pipelines.reports.tokens import Item

SIDED = frozenset({"lung", "lobe", "pleural", "hilar", "hemidiaphragm", "costophrenic"})
_LINKS = frozenset({"AND", "OR", "COMMA"})
_VAGUE = frozenset({"pulmonary", "parenchymal"})
_BEFORE = frozenset({"WORD", "FILL", "SIZE", "ARISE", "THEN", *OBSERVATIONS, *PLACES})
_BETWEEN = frozenset({"WORD", "FILL", "SIZE", "ARISE", "THEN", "VERB", "SEEN", "THE", "VERSUS", *_LINKS, *OBSERVATIONS})


class Mention(NamedTuple):
    """`first` .. `last` are item numbers in the clause; `side`, `zone`, `root` are items or None."""

    first: int
    last: int
    chain: int
    side: Item | None = None
    zone: Item | None = None
    root: Item | None = None

    @property
    def kind(self) -> str:
        return self.root.value if self.root else "lung"

    @property
    def side_only(self) -> bool:
        return self.side is not None and self.zone is None and self.root is None


class Place(NamedTuple):
    """An anatomy as SPEC 6 reads it: a root word and its modifiers, each with the item it was read from."""

    root: tuple[str, Item]
    modifiers: tuple[tuple[str, Item], ...]


def mentions(items: Sequence[Item]) -> list[Mention]:
    """All anatomies of a clause, left to right, with what chains share filled in."""
    runs = [run for run in _runs(items) if run.side or run.zone or run.root]
    chained: list[Mention] = []
    for run in runs:
        previous = chained[-1] if chained else None
        if previous and _is_part_of(items, previous, run):
            chained[-1] = run._replace(
                first=previous.first,
                chain=previous.chain,
                side=run.side or previous.side,
                zone=previous.zone or run.zone,
                root=previous.root if previous.kind == "lobe" else run.root,
            )
            continue
        linked = previous is not None and _linked(items, previous, run)
        chained.append(run._replace(chain=previous.chain if previous and linked else len(chained)))
    return _shared(chained)


def _runs(items: Sequence[Item]) -> Iterator[Mention]:
    run = None
    for i, item in enumerate(items):
        if run and run.last == i - 1 and (item.tag == "FILL" or _parts_side(items, i, run)):
            run = run._replace(last=i)
        if item.tag not in PLACES:
            continue
        field = item.tag.lower()
        if run is None or run.last != i - 1 or _begins_another(run, field, item):
            if run:
                yield run
            inherited = run.side if run and run.last == i - 1 and field == "root" else None
            run = Mention(i, i, -1, side=inherited)
        run = _with(run, field, item, i)
    if run:
        yield run


def _parts_side(items: Sequence[Item], i: int, run: Mention) -> bool:
    """Whether a word of size stands between a side and the rest of its anatomy ("right small pleural effusion",
    "right small and left large effusions", "left non-loculated pleural effusion").
    """
    if not _is_size(items, i) or not run.side_only:
        return False
    following = [item.tag for k, item in enumerate(items[i:], i) if not _is_size(items, k)][:2]
    return following[:1] in (["ROOT"], ["ZONE"]) or following == ["AND", "SIDE"]


def _is_size(items: Sequence[Item], i: int) -> bool:
    return items[i].tag == "SIZE" or items[i].phrase in ("large", "non") or (i > 0 and items[i - 1].phrase == "non")


def _begins_another(run: Mention, field: str, item: Item) -> bool:
    """Whether a word right behind a run names a new anatomy: a second side, or another root."""
    if field == "side":
        return run.side is not None
    if field != "root" or run.root is None:
        return False
    return item.value != run.root.value and not {item.value, run.root.value} & _VAGUE


def _with(run: Mention, field: str, item: Item, i: int) -> Mention:
    old = getattr(run, field)
    finer = field != "zone" or item.value in ("base", "apical")
    if old and (not finer or (field == "root" and item.value in {old.value, *_VAGUE})):
        return run._replace(last=i)
    changes: dict[str, Any] = {"last": i, field: item}
    run = run._replace(**changes)
    vague = run.root is not None and run.root.value in _VAGUE
    return run._replace(root=None) if vague and (run.side or run.zone) else run


def _linked(items: Sequence[Item], left: Mention, right: Mention) -> bool:
    between = [item for item in items[left.last + 1 : right.first] if item.tag not in ("THE", "FILL")]
    if not between:
        return True
    to = between[0].phrase == "to" and left.root is None
    return len(between) <= 2 and all(item.tag in _LINKS or to for item in between)


def _is_part_of(items: Sequence[Item], left: Mention, right: Mention) -> bool:
    """ "the base of the left lung", "lower lobe of the right lung" name one place."""
    between = [item for item in items[left.last + 1 : right.first] if item.tag not in ("THE", "WORD", "FILL")]
    joined = len(between) == 1 and between[0].phrase in ("of", "in")
    return joined and left.side is None and left.kind in ("lung", "lobe") and right.kind == "lung" and not right.zone


def _shared(chain: list[Mention]) -> list[Mention]:
    for i in range(len(chain) - 2, -1, -1):
        mention, following = chain[i], chain[i + 1]
        if mention.chain == following.chain and mention.root is None and (following.root or following.zone):
            zone = mention.zone or following.zone
            if mention.zone is None or mention.zone.value not in ("base", "apical"):
                chain[i] = mention._replace(root=following.root, zone=zone)
                if mention.side and following.side is None:
                    chain[i + 1] = following._replace(side=mention.side)
    return chain


def places_of(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    """The mentions that observation `items[k]` belongs to; empty if the clause names none for it."""
    own = FINDING_PLACES.get(items[k].phrase)
    if own:
        here = Mention(k, k, -1, root=replace(items[k], tag="ROOT", value=own))
        sides = [m for m in (*_before(items, k, found), *_after(items, k, found)) if m.side_only]
        return [here._replace(side=mention.side) for mention in sides] or [here]
    if items[k].phrase in TRANSITIVE:
        taken = _object(items, k, found)
        if taken:
            return taken
    before = _before(items, k, found)
    if not before and items[k].tag == "QUALITY":
        described = _described(items, k, found)
        if described:
            return described
    after = _after(items, k, found) or _compared(items, k, found, before)
    if before or after:
        return _merged(before, after)
    finding = _described_finding(items, k)
    if finding:
        return places_of(items, finding, found)
    return _subject(items, k, found) or _fronted(items, k, found)


def _chain(found: Sequence[Mention], one: Mention) -> list[Mention]:
    return [mention for mention in found if mention.chain == one.chain]


def _before(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    i = k - 1
    while i >= 0 and items[i].tag in _BEFORE:
        i -= 1
    near = [mention for mention in found if i < mention.last < k]
    return _chain([mention for mention in found if mention.last < k], near[-1]) if near else []


def _object(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    """The chain that a transitive quality acts on: the one right behind it ("obscuring the left hemidiaphragm")."""
    i = k + 1
    while i < len(items) and items[i].tag in ("THE", "WORD", "FILL", "SIZE"):
        i += 1
    start = next((mention for mention in found if mention.first == i and not mention.side_only), None)
    return _unless_named(items, [mention for mention in _chain(found, start) if mention.first >= i]) if start else []


def _unless_named(items: Sequence[Item], chain: list[Mention]) -> list[Mention]:
    """The chain, or nothing if an observation follows that it belongs to ("left pleural effusion")."""
    end = chain[-1].last + 1
    return [] if end < len(items) and items[end].tag in OBSERVATIONS else chain


def _described(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    """The chain right behind a quality, unless a finding follows: then the quality describes that."""
    i = k + 1
    while i < len(items) and items[i].tag in ("WORD", "FILL", "SIZE", "AND", "QUALITY"):
        i += 1
    start = next((mention for mention in found if mention.first == i), None)
    if start is None:
        return []
    return _unless_named(items, [mention for mention in _chain(found, start) if mention.first >= i])


def _after(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    crossed = False
    i = k + 1
    while i < len(items) and items[i].tag in _BETWEEN:
        crossed = crossed or items[i].tag in (*_LINKS, *OBSERVATIONS)
        i += 1
    if i >= len(items) or (crossed and items[k].value in HOMES):
        return []
    if items[i].tag == "PREP":
        i += 1
        while i < len(items) and items[i].tag in ("THE", "WORD", "FILL", "SIZE", "PREP"):
            i += 1
    elif crossed or items[k].tag == "QUALITY":
        return []
    start = next((mention for mention in found if mention.first == i), None)
    if start is None:
        return []
    chain = [mention for mention in _chain(found, start) if mention.first >= i]
    end = chain[-1].last + 1
    acts = end < len(items) and items[end].phrase in TRANSITIVE and _object(items, end, found)
    return chain if acts else _unless_named(items, chain)


def _compared(items: Sequence[Item], k: int, found: Sequence[Mention], before: Sequence[Mention]) -> list[Mention]:
    """Both sides of ", left greater than right" right behind a finding whose place so far has no side or zone."""
    sides = [mention for mention in found if mention.first > k][:2]
    if len(sides) < 2 or not all(mention.side_only for mention in sides) or any(m.side or m.zone for m in before):
        return []
    first, second = sides
    between = items[first.last + 1 : second.first]
    behind = items[k + 1].tag == "COMMA" and first.first == k + 2
    return sides if behind and len(between) == 1 and between[0].phrase.endswith(" than") else []


def _described_finding(items: Sequence[Item], k: int) -> int:
    """The number of the finding that "calcified" describes ("calcified left hilar granuloma"), 0 if none."""
    if items[k].value != "calcification":
        return 0
    i = next((i for i in range(k + 1, len(items)) if items[i].tag not in ("SIZE", "WORD", "FILL", *PLACES)), 0)
    return i if i and items[i].tag == "FINDING" else 0


def _fronted(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    """The place that a clause begins with ("in the right upper lobe a nodule is seen"), for its first observation."""
    start = next((i for i, item in enumerate(items) if item.tag not in ("PREP", "THE", "WORD", "SIZE")), k)
    first = next((mention for mention in found if mention.first == start), None)
    if first is None or items[0].tag != "PREP":
        return []
    chain = _chain(found, first)
    between = items[chain[-1].last + 1 : k]
    passed = ("COMMA", "THE", "SIZE", "FILL", "WORD")
    return chain if all(item.tag in passed or item.phrase in DESCRIBING for item in between) else []


def _merged(before: list[Mention], after: list[Mention]) -> list[Mention]:
    """A side named apart from its place ("pleural effusion on the left") joins it; otherwise both count."""
    if before and after and all(mention.side_only for mention in after) and not any(mention.side for mention in before):
        return [mention._replace(side=side.side) for mention in before for side in after]
    if before and after and all(mention.side_only for mention in before):
        return [mention._replace(side=mention.side or before[0].side) for mention in after]
    return [*before, *after]


def _subject(items: Sequence[Item], k: int, found: Sequence[Mention]) -> list[Mention]:
    verbs = [i for i, x in enumerate(items[:k]) if x.tag in ("VERB", "THERE") or x.phrase.endswith("n't")]
    verb = next((i for i in verbs if items[i].phrase != ":" or found[0].last < i), None) if found else None
    if verb is None or any(item.tag == "FINDING" for item in items[:verb]):
        return []
    subject = [mention for mention in found if mention.last < verb]
    aside = any(item.tag in ("WITH", "NEG") for item in items[verb:k]) and any(
        item.tag in OBSERVATIONS for item in items[verb:k]
    )
    return [mention for mention in subject if mention.kind == "lung"] if aside else subject


def resolve(mention: Mention, *, home: str | None, item: Item) -> Iterator[Place]:
    """The places of a mention; with `home`, a bare side or "lung" means that root (`terms.HOMES`).

    Args:
      mention: one of `places_of`.
      home: root word to use where no more is said; None if the observation has none.
      item: the observation, whose tokens stand for a place that is understood.
    """
    kind = home if home and mention.kind == "lung" and mention.zone is None else mention.kind
    if kind == "volumes" and mention.side:
        kind = "lung"
    span = mention.root or mention.zone or mention.side or item
    if home and mention.root is None and mention.zone is None:
        span = item
    zone = mention.zone.value if mention.zone else ""
    for side in _sides(mention, kind, zone):
        yield _place(mention, kind, zone, side, span)


def _sides(mention: Mention, kind: str, zone: str) -> tuple[str, ...]:
    side = mention.side.value if mention.side else ""
    if side != "both":
        return ("right",) if not side and kind == "lobe" and zone == "mid" else (side,)
    at_both_ends = zone in ("base", "apical") or (kind == "lobe" and zone == "lower")
    return ("left", "right") if kind in SIDED and not at_both_ends else ("",)


def _place(mention: Mention, kind: str, zone: str, side: str, span: Item) -> Place:
    if kind == "lingula":
        return Place((kind, span), ())
    modifiers = []
    if kind == "border":
        kind = "heart"
        modifiers.append(("border", span))
    if kind == "lobe":
        kind, zone = ("lung", zone) if zone in ("base", "apical") else (kind, zone.replace("mid", "middle"))
    if kind in ("lung", "lobe") and zone == "upper" and not side:
        kind = "lungs"
    if side:
        modifiers.append((side, mention.side or span))
    if zone:
        modifiers.append((zone, mention.zone or span))
    return Place((kind, span), tuple(modifiers))
