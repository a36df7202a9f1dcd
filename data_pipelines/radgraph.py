"""RadGraph JSON -> rows -> triplets -> label matrices (SPEC 6).

    radgraph   {"p10/p<patient>/s<study>.txt": {"text": tokens, "entities": {id: {...}}}}
    Row        one observation at one anatomy string in one sentence
    Triplet    (landmark, class, exists)
    matrix     int8 51 x 75 a study: 1 present, 0 stated absent, -1 not mentioned

Labels are read in both spellings, "OBS-DA" and "Observation::definitely absent". `reports.extract` writes
one optional key more, "lemma": the normal form of an entity ("heart" for the place of "cardiomegaly"), used
instead of its tokens.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_pipelines.lemmas import lemmatise
from medslip_jax import vocabulary
from medslip_jax.errors import InputError

_LABELS = {
    "Anatomy::definitely present": "ANAT-DP",
    "Anatomy::definitely absent": "ANAT-DA",
    "Anatomy::uncertain": "ANAT-U",
    "Observation::definitely present": "OBS-DP",
    "Observation::definitely absent": "OBS-DA",
    "Observation::uncertain": "OBS-U",
}
_LABELS |= {short: short for short in _LABELS.values()}
_EXISTS = {"OBS-DP": True, "OBS-DA": False}
_STUDY_KEY = re.compile(r"(?:.*/)?s(\d+)(?:\.txt)?")


@dataclass(frozen=True)
class Entity:
    """One checked entity; `text` is lower case and already normalised where the file says how."""

    text: str
    lemma: str
    label: str
    sentence: int
    relations: tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """One observation at one anatomy: `anatomy` is "root|modifier|..." or "unspecified", `label` OBS-DP, -DA
    or -U.
    """

    sentence: int
    anatomy: str
    observation: str
    label: str
    lemma: str


class Triplet(NamedTuple):
    """`anatomy` and `pathology` are names of `medslip_jax.vocabulary`; `exists` is False where the text
    denies it.
    """

    anatomy: str
    pathology: str
    exists: bool


def label_matrices(radgraph: Mapping[str, dict]) -> tuple[np.ndarray, np.ndarray]:
    """All studies of a RadGraph file as label matrices, in the order of the file.

    Keys that start with "_" are notes and skipped. A study without any entity is left out; one with
    entities but no observation is kept, all -1.

    Args:
      radgraph: study key -> {"text", "entities"}; see the head of this file.

    Returns:
      (study_ids, matrices): str (n,), the digits of "s<study>.txt" or else the whole key; int8 (n, 51, 75).

    Raises:
      InputError: a malformed study, naming its key and the field, or two keys of the same study.
    """
    if not isinstance(radgraph, Mapping):
        raise InputError(f"RadGraph: expected a JSON object of studies, got {type(radgraph).__name__}")
    matrices = np.full((len(radgraph), len(vocabulary.ANATOMIES), len(vocabulary.PATHOLOGIES)), -1, np.int8)
    row_of: dict[str, int] = {}
    for key, study in radgraph.items():
        if key.startswith("_"):
            continue
        entities = read_entities(study, key=key)
        if not entities:
            continue
        name = study_id(key)
        if name in row_of:
            raise InputError(f"RadGraph study {key!r}: study id {name} occurs twice; give each study one key")
        row_of[name] = len(row_of)
        _fill(matrices[row_of[name]], study_triplets(entities))
    return np.array(list(row_of), dtype=np.str_), matrices[: len(row_of)]


def triplets_matrix(triplets: Iterable[tuple[str, str, bool]]) -> np.ndarray:
    """int8 (51, 75) from (anatomy, pathology, exists); present beats absent beats not mentioned (-1).

    >>> int(triplets_matrix([("left_pleural", "effusion", True)]).max())
    1

    Raises:
      InputError: a name is not in the vocabulary.
    """
    matrix = np.full((len(vocabulary.ANATOMIES), len(vocabulary.PATHOLOGIES)), -1, np.int8)
    _fill(matrix, triplets)
    return matrix


def _fill(matrix: np.ndarray, found: Iterable[tuple[str, str, bool]]) -> None:
    for anatomy, pathology, exists in found:
        cell = vocabulary.anatomy_index(anatomy), vocabulary.pathology_index(pathology)
        matrix[cell] = max(matrix[cell], int(exists))


def study_id(key: str) -> str:
    """ "p10/p10000000/s50000000.txt" -> "50000000"; a key of another form is its own id."""
    match = _STUDY_KEY.fullmatch(key)
    return match[1] if match else key


def study_triplets(entities: Mapping[str, Entity]) -> Iterator[Triplet]:
    """The triplets of one study (`read_entities`), in text order; uncertain observations give none."""
    for row in rows(entities):
        if row.label in _EXISTS:
            yield Triplet(landmark(row.anatomy), observation_class(row.lemma), _EXISTS[row.label])


def rows(entities: Mapping[str, Entity]) -> Iterator[Row]:
    """The observations of one study with their anatomy strings, sentence by sentence, each pair once.

    An observation located only at something else than a root anatomy or its modifier, or with no relation
    but to other observations, has no row of its own (SPEC 6).
    """
    by_sentence: dict[int, dict[str, Entity]] = {}
    for key, entity in entities.items():
        by_sentence.setdefault(entity.sentence, {})[key] = entity
    for sentence in sorted(by_sentence):
        yield from _sentence_rows(by_sentence[sentence], sentence)


def _sentence_rows(entities: Mapping[str, Entity], sentence: int) -> Iterator[Row]:
    names, owners = _anatomy_strings(entities)
    for entity in entities.values():
        if not entity.label.startswith("OBS"):
            continue
        places = [
            names[owner]
            for kind, target in entity.relations
            if kind == "located_at"
            for owner in owners.get(target, ())
        ]
        if not entity.relations:
            places = ["unspecified"]
        for anatomy in dict.fromkeys(places):
            yield Row(sentence, anatomy, entity.text, entity.label, entity.lemma)


def _anatomy_strings(entities: Mapping[str, Entity]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Of one sentence: root id -> "root|modifier|..."; id of a root or modifier -> its roots."""
    anatomies = {key: entity for key, entity in entities.items() if entity.label == "ANAT-DP"}
    names = {key: entity.text for key, entity in anatomies.items() if not entity.relations}
    owners = {root: [root] for root in names}
    for key, entity in anatomies.items():
        for root in dict.fromkeys(target for _, target in entity.relations if target in names):
            names[root] += f"|{entity.text}"
            owners.setdefault(key, []).append(root)
    return names, owners


def observation_class(lemma: str) -> str:
    """The one of 75 classes an observation lemma counts as.

    >>> observation_class("opacification"), observation_class("mild"), observation_class("fibrosis")
    ('opacity', 'excluded_obs', 'tail_abnorm_obs')
    """
    lemma = vocabulary.LEMMA_CORRECTIONS.get(lemma, lemma)
    if lemma in vocabulary.NORMAL_OBSERVATIONS or lemma in vocabulary.ABNORMAL_OBSERVATIONS:
        return lemma
    return "excluded_obs" if lemma in vocabulary.EXCLUDED_OBSERVATIONS else "tail_abnorm_obs"


@functools.lru_cache(maxsize=65536)
def landmark(anatomy: str) -> str:
    """The one of 51 anatomies that an anatomy string "root|modifier|..." means.

    >>> landmark("pleural|left"), landmark("lobe|right|lower"), landmark("bowel")
    ('left_pleural', 'lower_right_lobe', 'other')
    """
    tokens = set(anatomy.split("|"))
    for rule in vocabulary.LANDMARK_RULES:
        needed = [rule["any_of"], *rule["also_any_of"]]
        if anatomy in rule["exact"] or (
            all(not tokens.isdisjoint(words) for words in needed) and tokens.isdisjoint(rule["none_of"])
        ):
            return rule["landmark"]
    return "unspecified" if anatomy == "unspecified" else "other"


def read_entities(study: Mapping, *, key: str) -> dict[str, Entity]:
    """Check one study of a RadGraph file.

    Args:
      study: {"text": tokens separated by spaces, "entities": {id: {"tokens", "label", "start_ix", "end_ix",
        "relations": [[type, target id], ...]}}}.
      key: its name in the file, for the message.

    Raises:
      InputError: naming the study and the first field that is missing or wrong.
    """
    where = f"RadGraph study {key!r}"
    if not isinstance(study, Mapping) or not isinstance(study.get("text"), str):
        raise InputError(f"{where}: field 'text' must be a string of tokens separated by spaces")
    if not isinstance(study.get("entities"), Mapping):
        raise InputError(f"{where}: field 'entities' must be an object of id -> entity")
    sentences = _sentence_of_token(study["text"].split())
    raw = study["entities"]
    return {name: _entity(raw, name, sentences, where=where) for name in raw}


def _sentence_of_token(tokens: list[str]) -> list[int]:
    numbers, current = [], 0
    for token in tokens:
        numbers.append(current)
        current += token in (".", "?", "!")
    return numbers


def _entity(raw: Mapping[str, Mapping], name: str, sentences: list[int], *, where: str) -> Entity:
    entity, where = raw[name], f"{where}, entity {name!r}"
    if not isinstance(entity, Mapping) or not isinstance(entity.get("tokens"), str):
        raise InputError(f"{where}: field 'tokens' must be a string")
    label = entity.get("label")
    if not isinstance(label, str) or label not in _LABELS:
        raise InputError(f"{where}: field 'label' is {label!r}; expected one of {sorted(_LABELS)}")
    start = entity.get("start_ix")
    if type(start) is not int or not 0 <= start < len(sentences):
        raise InputError(f"{where}: field 'start_ix' is {start!r}; expected a token number below {len(sentences)}")
    lemma = entity.get("lemma")
    if lemma is not None and not isinstance(lemma, str):
        raise InputError(f"{where}: field 'lemma' must be a string or left out")
    is_anatomy = _LABELS[label].startswith("ANAT")
    return Entity(
        text=(lemma if lemma and is_anatomy else entity["tokens"]).lower(),
        lemma=lemma or lemmatise(entity["tokens"]),
        label=_LABELS[label],
        sentence=sentences[start],
        relations=_relations(entity.get("relations"), raw, where=where),
    )


def _relations(found: object, raw: Mapping, *, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, list):
        raise InputError(f"{where}: field 'relations' must be a list of [type, target id]")
    for relation in found:
        pair = isinstance(relation, list | tuple) and len(relation) == 2 and all(isinstance(x, str) for x in relation)
        if not pair or relation[1] not in raw:
            raise InputError(f"{where}: field 'relations' has {relation!r}; expected [type, id of an entity here]")
    return tuple((kind, target) for kind, target in found)
