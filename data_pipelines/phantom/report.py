"""The phantom's radiology report: varied plain wording, and what it says as (anatomy, pathology, exists).

A finding that is there is mentioned nine times in ten; what is absent is denied now and then, as radiologists
do. The anatomies of the triplets are those that SPEC 6's landmark rules give for the words used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data_pipelines.phantom import wording as wording
from data_pipelines.phantom.canvas import Dice
from data_pipelines.phantom.findings import PLACES, Mark

Triplet = tuple[str, str, bool]
_MENTION = 0.9


@dataclass(frozen=True)
class Sentence:
    section: str
    text: str
    triplets: tuple[Triplet, ...]


@dataclass(frozen=True)
class Written:
    """A report, what it says, and the drawn pathologies it speaks of."""

    text: str
    triplets: tuple[Triplet, ...]
    mentioned: frozenset[str]


def write_report(marks: Sequence[Mark], dice: Dice) -> Written:
    """Writes the report of one image with these findings."""
    present = {mark.pathology for mark in marks}
    mentioned = frozenset(name for name in PLACES if name in present and dice.chance(_MENTION))
    sentences = []
    for name in (name for name in PLACES if name in mentioned):  # a set has no order that two runs share
        sentences += _tell(name, [mark for mark in marks if mark.pathology == name], dice)
    absent = [name for name in PLACES if name not in present]
    sentences += _deny(absent, dice)
    sentences += _deny_somewhere(marks, mentioned, dice)
    sentences += _normal(present, dice)
    sentences += _hedge(mentioned, sentences, dice)
    if not sentences:
        sentences = [Sentence("heart", *wording.LAST_RESORT)]
    order = dice.pick(wording.SECTION_ORDERS)
    sentences = sorted(dice.shuffled(sentences), key=lambda s: order.index(s.section))
    text = " ".join([*dice.pick(wording.OPENINGS), *(s.text for s in sentences)])
    return Written(text, tuple(dict.fromkeys(t for s in sentences for t in s.triplets)), mentioned)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _with_article(lead: str, adjective: str) -> str:
    """ "an" before "left pleural" becomes "a left pleural": the article agrees with the word that follows."""
    if lead in ("a", "an"):
        return ("an " if adjective[0] in "aeiou" else "a ") + adjective
    return f"{lead} {adjective}".strip()


def _tell(name: str, marks: Sequence[Mark], dice: Dice) -> list[Sentence]:
    section = wording.SECTION[name]
    if name == "lead" and len(marks) == 2:
        text = dice.pick(wording.TWO_LEADS)
        return [Sentence(section, text, tuple((mark.anatomy, name, True) for mark in marks))]
    if name == "cardiomegaly" and dice.chance(0.4):
        return [Sentence(section, dice.pick(wording.BARE_CARDIOMEGALY), (("unspecified", name, True),))]
    told: dict[str, Sentence] = {}
    for mark in marks:
        told.setdefault(mark.anatomy, Sentence(section, _sentence(mark, dice), ((mark.anatomy, name, True),)))
    return list(told.values())


def _sentence(mark: Mark, dice: Dice) -> str:
    name, anatomy = mark.pathology, mark.anatomy
    if name in wording.WHOLE:
        by_place = wording.WHOLE[name]
        text = dice.pick(by_place.get(anatomy, by_place.get("", ())))
        noun = dice.pick(wording.NOUNS.get(anatomy, (anatomy,)))
        return _capital(text.format(noun=noun, which=mark.which))
    lead, head = dice.pick(wording.PHRASES[name])
    adjectives = wording.ADJECTIVES.get(anatomy, ())
    if adjectives and dice.chance(0.45):
        phrase = " ".join(word for word in (_with_article(lead, dice.pick(adjectives)), head) if word)
        return _capital(dice.pick(wording.FRAMES_BARE).format(phrase=phrase))
    phrase = f"{lead} {head}".strip()
    frame = dice.pick(wording.FRAMES)
    return _capital(frame.format(phrase=phrase, Phrase=_capital(phrase), noun=dice.pick(wording.NOUNS[anatomy])))


def _deny(absent: Sequence[str], dice: Dice) -> list[Sentence]:
    """Sentences of the kind "No ...", one to three pathologies each."""
    sentences = []
    for section, names in wording.DENIED.items():
        chosen = [name for name in dice.shuffled(names) if name in absent and dice.chance(wording.DENIAL_RATE[name])]
        while chosen:
            count = dice.integer(1, 3)
            some, chosen = chosen[:count], chosen[count:]
            terms = [dice.pick(wording.DENIAL_TERMS[name]) for name in some]
            text = dice.pick(wording.DENIAL_FRAMES).format(list=_listed([t for t, _ in terms]))
            triplets = tuple((anatomy, name, False) for name, (_, anatomy) in zip(some, terms, strict=True))
            sentences.append(Sentence(section, _capital(text), triplets))
    return sentences


def _listed(terms: Sequence[str]) -> str:
    return terms[0] if len(terms) == 1 else ", ".join(terms[:-1]) + " or " + terms[-1]


def _deny_somewhere(marks: Sequence[Mark], mentioned: frozenset[str], dice: Dice) -> list[Sentence]:
    """Says of a place on one side what is absent from that whole side, whatever the other side shows.

    Never of a finding that is drawn but goes unmentioned: denied here and told nowhere, it would read as absent
    from the whole image.
    """
    sentences = []
    unmentioned = {mark.pathology for mark in marks} - mentioned
    for _ in range(dice.integer(0, 2)):
        name = dice.pick(wording.DENIED_SOMEWHERE)
        anatomy = dice.pick([place for place in PLACES[name] if place in wording.SIDED])
        side = wording.SIDED[anatomy]
        if name in unmentioned or any(
            m.pathology == name and wording.SIDED.get(m.anatomy, side) == side for m in marks
        ):
            continue
        text = dice.pick(wording.DENIED_THERE[name]).format(noun=dice.pick(wording.NOUNS[anatomy]), side=side)
        sentences.append(Sentence(wording.SECTION[name], _capital(text), ((anatomy, name, False),)))
    return sentences


def _normal(present: set[str], dice: Dice) -> list[Sentence]:
    """Statements of normality that the drawn findings allow."""
    sentences = []
    for remark in wording.REMARKS:
        if not (remark.unless & present) and dice.chance(remark.rate):
            text, triplet = dice.pick(remark.says)
            sentences.append(Sentence(remark.section, text, (triplet,)))
    return sentences


def _hedge(mentioned: frozenset[str], sentences: Sequence[Sentence], dice: Dice) -> list[Sentence]:
    """A guess at the cause of an opacity. It asserts nothing (OBS-U in SPEC 6), so it has no triplets."""
    said = {name for sentence in sentences for _, name, _ in sentence.triplets}
    text, names = dice.pick(wording.HEDGES)
    if "opacity" not in mentioned or said & set(names) or not dice.chance(0.5):
        return []
    return [Sentence("summary", text, ())]
