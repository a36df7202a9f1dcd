"""RadGraph JSON -> rows -> triplets -> label matrices (SPEC 6).

`label_matrices` reads parsed JSON; `stream.iter_label_matrices` reads a file of any size, study by study.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.radgraph.lemmas import lemmatise
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
_OBSERVED = frozenset({*_EXISTS, "OBS-U"})
_SENTENCE_ENDS = frozenset(".?!")
_STUDY_KEY = re.compile(r"(?:.*/)?s(\d+)(?:\.txt)?")


class Entity(NamedTuple):
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

    >>> from data_pipelines.reports import extract
    >>> study_ids, matrices = label_matrices({"p1/s50.txt": extract("Left effusion. No pneumothorax.")})
    >>> effusion, pneumothorax = map(vocabulary.pathology_index, ("effusion", "pneumothorax"))
    >>> study_ids.tolist(), matrices[0][:, [effusion, pneumothorax]].max(axis=0).tolist()
    (['50'], [1, 0])

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
        fill_study(matrices[row_of[name]], entities)
    return np.array(list(row_of), dtype=np.str_), matrices[: len(row_of)]


def fill_study(matrix: np.ndarray, entities: Mapping[str, Entity]) -> None:
    """Set what a study (`read_entities`) says in its int8 (51, 75) matrix of -1, in place."""
    said: dict[tuple[int, int], bool] = {}
    for row in rows(entities):
        if row.label in _EXISTS:
            cell = _cell(row.anatomy, row.lemma)
            said[cell] = _EXISTS[row.label] or said.get(cell, False)
    for cell, exists in said.items():
        matrix[cell] = exists


@functools.lru_cache(maxsize=65536)
def _cell(anatomy: str, lemma: str) -> tuple[int, int]:
    return vocabulary.anatomy_index(landmark(anatomy)), vocabulary.pathology_index(observation_class(lemma))


def triplets_matrix(triplets: Iterable[tuple[str, str, bool]]) -> np.ndarray:
    """int8 (51, 75) from (anatomy, pathology, exists); present beats absent beats not mentioned (-1).

    >>> int(triplets_matrix([("left_pleural", "effusion", True)]).max())
    1

    Raises:
      InputError: a name is not in the vocabulary.
    """
    matrix = np.full((len(vocabulary.ANATOMIES), len(vocabulary.PATHOLOGIES)), -1, np.int8)
    for anatomy, pathology, exists in triplets:
        cell = vocabulary.anatomy_index(anatomy), vocabulary.pathology_index(pathology)
        matrix[cell] = max(matrix[cell], int(exists))
    return matrix


def study_id(key: str) -> str:
    """The number of a MIMIC-CXR study; a key of another form is its own id.

    >>> study_id("p10/p10000000/s50000000.txt"), study_id("CXR1")
    ('50000000', 'CXR1')
    """
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
    observations = [entity for entity in entities.values() if entity.label in _OBSERVED]
    if not observations:
        return
    names, owners = _anatomy_strings(entities) if len(observations) < len(entities) else ({}, {})
    for text, lemma, label, _, relations in observations:
        if not relations:
            yield Row(sentence, "unspecified", text, label, lemma)
            continue
        places = [
            names[owner] for kind, target in relations if kind == "located_at" for owner in owners.get(target, ())
        ]
        for anatomy in dict.fromkeys(places):
            yield Row(sentence, anatomy, text, label, lemma)


def _anatomy_strings(entities: Mapping[str, Entity]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Of one sentence: root id -> "root|modifier|..."; id of a root or modifier -> its roots."""
    anatomies = {key: entity for key, entity in entities.items() if entity.label == "ANAT-DP"}
    names = {key: entity.text for key, entity in anatomies.items() if not entity.relations}
    owners = {root: [root] for root in names}
    for key, entity in anatomies.items():
        for root in dict.fromkeys([target for _, target in entity.relations if target in names]):
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
    for name, entity in raw.items():
        problem = _problem(entity, raw, len(sentences))
        if problem:
            raise InputError(f"{where}, entity {name!r}: field {problem}")
    return {name: _entity(entity, sentences) for name, entity in raw.items()}


def _sentence_of_token(tokens: list[str]) -> list[int]:
    numbers, current = [], 0
    for token in tokens:
        numbers.append(current)
        current += token in _SENTENCE_ENDS
    return numbers


def _entity(entity: Mapping, sentences: Sequence[int]) -> Entity:
    tokens, label, lemma = entity["tokens"], _LABELS[entity["label"]], entity.get("lemma")
    text = (lemma if lemma and label not in _OBSERVED else tokens).lower()
    relations = tuple([(kind, target) for kind, target in entity["relations"]])
    return Entity(text, lemma or lemmatise(tokens), label, sentences[entity["start_ix"]], relations)


def _problem(entity: object, raw: Mapping, length: int) -> str:
    """What is wrong with an entity of a text of `length` tokens, beginning with the field's name; "" if nothing is."""
    if not isinstance(entity, Mapping) or not isinstance(entity.get("tokens"), str):
        return "'tokens' must be a string"
    label = entity.get("label")
    if not isinstance(label, str) or label not in _LABELS:
        return f"'label' is {label!r}; expected one of {sorted(_LABELS)}"
    start = entity.get("start_ix")
    if type(start) is not int or not 0 <= start < length:
        return f"'start_ix' is {start!r}; expected a token number below {length}"
    lemma = entity.get("lemma")
    if lemma is not None and not isinstance(lemma, str):
        return "'lemma' must be a string or left out"
    relations = entity.get("relations")
    if not isinstance(relations, list):
        return "'relations' must be a list of [type, target id]"
    for relation in relations:
        pair = isinstance(relation, list | tuple) and len(relation) == 2
        if not pair or not all(isinstance(part, str) for part in relation) or relation[1] not in raw:
            return f"'relations' has {relation!r}; expected [type, id of an entity here]"
    return ""
