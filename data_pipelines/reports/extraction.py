"""Raw English chest X-ray report text -> RadGraph-style entities, by dictionary and rules.

What is read, and how, is decided in small places: `terms` (the words), `markup`, `sections` and `headers`, `lists` and
`tokens` (sentences), `earlier` (other films), `clauses`, `assertions` with `scopes` and `doubts` (present, absent,
uncertain), `ellipsis` (what a clause leaves out), `places` (which anatomy). No model, no download; about a thousand
reports a second on one core.

Choices that a user of the labels should know:
  - As in RadGraph, what stands without a place is "unspecified", a bare "pneumothorax" or "cardiomegaly"
    too. With no more than a side or "lung", an effusion or pneumothorax is in the pleura ("left effusion"
    -> left_pleural). A zone that is named wins ("left apical pneumothorax" -> left_apical_lung).
  - "The heart is enlarged", "enlarged heart", "cardiac enlargement" are cardiomegaly at heart_size.
  - "bilateral" gives a left and a right place where the vocabulary has both; "bibasilar" and "both lower
    lobes" are lung_bases, "biapical" lung_apices, as the landmark rules have them.
  - Words of size, course and position ("small", "unchanged") are no findings and give no entity.
"""

from data_pipelines.reports import terms
from data_pipelines.reports.assertions import assert_clause
from data_pipelines.reports.clauses import OBSERVATIONS, PLACES, clauses
from data_pipelines.reports.earlier import marked
from data_pipelines.reports.ellipsis import completed
from data_pipelines.reports.places import Mention, Place, mentions, places_of, resolve
from data_pipelines.reports.tokens import Item, sentences, tag

_COARSE = frozenset(
    {"accentuated", "coarse", "coarsened", "increased", "abnormal", "chronic", "diffuse", "reticular", "heavy"}
)


def extract(text: str) -> dict:
    """Entities and relations of a report, as `radgraph.label_matrices({"any key": extract(text)})` reads
    them.

    >>> found = extract("Small left pleural effusion. No pneumothorax.")
    >>> [(e["tokens"], e["label"]) for e in found["entities"].values()]
    [('pleural', 'ANAT-DP'), ('left', 'ANAT-DP'), ('effusion', 'OBS-DP'), ...]

    Args:
      text: a whole report or a part of one, with or without section headers; any string is accepted.

    Returns:
      {"text": tokens joined by spaces, sentences ended by ".", "?" or "!"; "entities": {"1": {"tokens",
      "label" (ANAT-DP, OBS-DP, OBS-DA, OBS-U), "start_ix", "end_ix" (inclusive token numbers), "relations":
      [[type, id]], "lemma": the word that SPEC 6 shall read in place of the tokens}}}. Only anatomies of
      some observation appear.
    """
    entities = _Entities()
    tokens: list[str] = []
    for sentence in sentences(text):
        for clause in completed(clauses(marked(tag(sentence, offset=len(tokens))))):
            _read(clause, entities)
        tokens.extend(sentence)
    return {"text": " ".join(tokens), "entities": entities.as_dict(tokens)}


class _Entities:
    """Entities in the making; an anatomy that two observations share is one entity."""

    def __init__(self) -> None:
        self._found: list[tuple[Item, str, str, list[list[str]]]] = []
        self._anatomy: dict[tuple, str] = {}

    def add(self, item: Item, *, label: str, lemma: str, relations: list[list[str]]) -> str:
        self._found.append((item, label, lemma, relations))
        return str(len(self._found))

    def place(self, place: Place) -> str:
        root, modifiers = place.root, place.modifiers
        key = (root[0], root[1].start, *((lemma, item.start) for lemma, item in modifiers))
        if key not in self._anatomy:
            number = self.add(root[1], label="ANAT-DP", lemma=root[0], relations=[])
            for lemma, item in modifiers:
                self.add(item, label="ANAT-DP", lemma=lemma, relations=[["modify", number]])
            self._anatomy[key] = number
        return self._anatomy[key]

    def as_dict(self, tokens: list[str]) -> dict[str, dict]:
        return {
            str(number): {
                "tokens": " ".join(tokens[item.start : item.end + 1]),
                "label": label,
                "start_ix": item.start,
                "end_ix": item.end,
                "relations": relations,
                "lemma": lemma,
            }
            for number, (item, label, lemma, relations) in enumerate(self._found, 1)
        }


def _read(clause: list[Item], entities: _Entities) -> None:
    observed = [k for k, item in enumerate(clause) if item.tag in OBSERVATIONS]
    if not observed:
        return
    assert_clause(clause)
    found = mentions(clause)
    for k in observed:
        places = places_of(clause, k, found)
        if not _is_observation(clause, k, places):
            continue
        item = clause[k]
        for kind in dict.fromkeys(_kinds(places)):
            lemma = terms.RENAMED.get((item.value, kind), item.value)
            home = terms.HOMES.get(lemma)
            group = [mention for mention in places if mention.kind == kind]
            numbers = [entities.place(place) for mention in group for place in resolve(mention, home=home, item=item)]
            relations = [["located_at", number] for number in dict.fromkeys(numbers)]
            entities.add(item, label=item.status, lemma=lemma, relations=relations)


def _kinds(places: list[Mention]) -> list[str]:
    return [mention.kind for mention in places] or [""]


def _is_observation(clause: list[Item], k: int, places: list[Mention]) -> bool:
    """Whether a known word is an observation here: "increased" is one at the heart, "markings" if they are
    coarse.
    """
    item = clause[k]
    if item.phrase in terms.DESCRIBING and _describes_next(clause, k):
        return False
    allowed = terms.ONLY_AT.get(item.value)
    if allowed is not None and allowed.isdisjoint(_kinds(places)):
        return False
    if item.value == "stable":
        follower = clause[k + 1].tag if k + 1 < len(clause) else ""
        return follower not in ("FINDING", "QUALITY", "ROOT", "ZONE", "SIDE") and k > 0
    if item.value == "marking":
        return any(
            other.value in ("prominence", "large", "thicken", "crowd") or other.phrase in _COARSE for other in clause
        )
    return True


def _describes_next(clause: list[Item], k: int) -> bool:
    follower = next((item for item in clause[k + 1 :] if item.tag not in (*PLACES, "WORD", "SIZE", "FILL")), None)
    return follower is not None and follower.tag == "FINDING"
