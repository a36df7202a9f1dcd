"""RadGraph JSON -> rows -> triplets -> label matrices (SPEC 6).

`label_matrices` reads parsed JSON; `stream.iter_label_matrices` reads a file of any size, study by study.

    radgraph   {"p10/p<patient>/s<study>.txt": {"text": tokens, "entities": {id: {...}}}}, see `entities`
    Row        one observation at one anatomy string in one sentence
    Triplet    (landmark, class, exists)
    matrix     int8 51 x 75 a study: 1 present, 0 stated absent, -1 not mentioned
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.radgraph.entities import OBSERVED, Entity, Skipped, in_list
from medslip_jax import vocabulary
from medslip_jax.errors import InputError

_EXISTS = {"OBS-DP": True, "OBS-DA": False}
_STUDY_KEY = re.compile(r"(?:.*/)?s(\d+)(?:\.txt)?")


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


def label_matrices(
    radgraph: Mapping[Any, Any] | Sequence[Any], *, skipped: Skipped | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All studies of RadGraph's output as label matrices, in its order.

    Keys that start with "_" are notes and skipped. A study without any entity is left out; one with
    entities but no observation is kept, all -1. A malformed study is left out with a warning.

    >>> from data_pipelines.reports import extract
    >>> study_ids, matrices = label_matrices({"p1/s50.txt": extract("Left effusion. No pneumothorax.")})
    >>> effusion, pneumothorax = map(vocabulary.pathology_index, ("effusion", "pneumothorax"))
    >>> study_ids.tolist(), matrices[0][:, [effusion, pneumothorax]].max(axis=0).tolist()
    (['50'], [1, 0])

    Args:
      radgraph: study key -> study (`entities.read_entities`), or a list as of `entities.in_list`.
      skipped: collects what is left out, in place of the warning.

    Returns:
      (study_ids, matrices): str (n,), the digits of "s<study>.txt" or else the whole key; int8 (n, 51, 75).

    Raises:
      InputError: no object of studies, all of them malformed, or two keys of the same study.
    """
    if isinstance(radgraph, Mapping):
        studies: list[tuple[str, object]] = [(str(key), study) for key, study in radgraph.items()]
    elif isinstance(radgraph, list | tuple):
        studies = list(in_list(radgraph))
    else:
        raise InputError(f"RadGraph: expected an object or a list of studies, got {type(radgraph).__name__}")
    found = Skipped() if skipped is None else skipped
    matrices = np.full((len(studies), len(vocabulary.ANATOMIES), len(vocabulary.PATHOLOGIES)), -1, np.int8)
    row_of: dict[str, int] = {}
    for key, study in studies:
        entities = None if key.startswith("_") else found.entities(study, key=key)
        if not entities:
            continue
        name = study_id(key)
        if name in row_of:
            raise InputError(f"RadGraph study {key!r}: study id {name} occurs twice; give each study one key")
        row_of[name] = len(row_of)
        fill_study(matrices[row_of[name]], entities)
    found.conclude(warn=skipped is None)
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
    observations = [entity for entity in entities.values() if entity.label in OBSERVED]
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
