"""One study of RadGraph's output, of any of its releases -> checked entities, the same for all of them.

    RadGraph 1.0   labels ANAT-DP, OBS-DP, OBS-DA, OBS-U; studies of its test set have "entities" below "labeler_1"
    package        "Observation::definitely absent"
    RadGraph-XL    "Anatomy::measurement::definitely present": read as without what stands between
    RadGraph2      CHAN-NC, CHAN-CON-AP ...: words of change, kept for the relations and otherwise without effect

An entity of an unknown label has no effect either and is counted. `reports.extract` writes one optional key more,
"lemma": the normal form of an entity ("heart" for the place of "cardiomegaly"), used instead of its tokens.
"""

import collections
import dataclasses
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from data_pipelines.radgraph.lemmas import lemmatise
from medslip_jax.errors import InputError

OBSERVED = frozenset({"OBS-DP", "OBS-DA", "OBS-U"})
_KINDS = {"anat": "ANAT", "anatomy": "ANAT", "obs": "OBS", "observation": "OBS"}
_CERTAINTIES = {"dp": "DP", "da": "DA", "u": "U", "definitely present": "DP", "definitely absent": "DA"}
_CERTAINTIES |= {"uncertain": "U"}
_CHANGE = "CHAN"
_SENTENCE_ENDS = frozenset(".?!")


class Entity(NamedTuple):
    """One checked entity; `text` is lower case and already normalised where the file says how.

    label: ANAT-DP, ANAT-DA, ANAT-U, OBS-DP, OBS-DA, OBS-U, "CHAN" for a word of change, "" for an unknown label.
    """

    text: str
    lemma: str
    label: str
    sentence: int
    relations: tuple[tuple[str, str], ...]


@dataclasses.dataclass
class Skipped:
    """What of RadGraph data was not used: whole studies, and entities of unknown labels.

    Attributes:
      studies: key -> why the study cannot be read.
      labels: label -> how many entities have it.
      used: studies that were read.
    """

    studies: dict[str, str] = dataclasses.field(default_factory=dict)
    labels: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    used: int = 0

    def entities(self, study: object, *, key: str) -> dict[str, Entity] | None:
        """`read_entities`, or None and a note of a study that cannot be read."""
        try:
            found = read_entities(study, key=key, unknown=self.labels)
        except InputError as error:
            self.studies[key] = str(error)
            return None
        self.used += 1
        return found

    def lines(self) -> list[str]:
        """A line on the studies and one on the labels; [] if all was used."""
        lines = []
        if self.studies:
            first = next(iter(self.studies.values()))
            lines.append(f"RadGraph: {len(self.studies)} of {len(self.studies) + self.used} studies left out: {first}")
        if self.labels:
            listed = ", ".join(f"{label!r} ({count})" for label, count in self.labels.most_common())
            lines.append(f"RadGraph: entities of unknown labels left out: {listed}")
        return lines

    def conclude(self, *, where: str = "", warn: bool) -> None:
        """After the last study.

        Args:
          where: the file, as "FILE: ".
          warn: whether `lines` become a `UserWarning`, for a caller that does not look at them.

        Raises:
          InputError: there are studies, and none can be read.
        """
        if self.studies and not self.used:
            raise InputError(f"{where}{next(iter(self.studies.values()))}")
        for line in self.lines() if warn else ():
            warnings.warn(f"{where}{line}", stacklevel=3)


def read_entities(study: object, *, key: str, unknown: collections.Counter | None = None) -> dict[str, Entity]:
    """Check one study of RadGraph's output.

    Args:
      study: {"text": tokens separated by spaces, "entities": {id: {"tokens", "label", "start_ix",
        "relations": [[type, target id], ...]}}}, or these below "labeler_1"; ids are strings or whole numbers.
      key: its name in the file, for the message.
      unknown: counts the labels that are not known.

    Raises:
      InputError: naming the study and the first field that is missing or wrong.
    """
    where = f"RadGraph study {key!r}"
    study = _unwrapped(study)
    if not isinstance(study, Mapping) or not isinstance(study.get("text"), str):
        raise InputError(f"{where}: field 'text' must be a string of tokens separated by spaces")
    if not isinstance(study.get("entities"), Mapping):
        raise InputError(f"{where}: field 'entities' must be an object of id -> entity")
    sentences = _sentence_of_token(study["text"].split())
    raw = study["entities"]
    if any(type(name) is not str for name in raw):
        raw = {str(name): entity for name, entity in raw.items()}
    for name, entity in raw.items():
        problem = _problem(entity, raw, len(sentences))
        if problem:
            raise InputError(f"{where}, entity {name!r}: field {problem}")
    if unknown is not None:
        unknown.update(label for entity in raw.values() if not plain_label(label := entity["label"]))
    return {name: _entity(entity, sentences) for name, entity in raw.items()}


@functools.lru_cache(maxsize=1024)
def plain_label(label: str) -> str:
    """A label of any release as `Entity.label`.

    >>> plain_label("Anatomy::measurement::definitely present"), plain_label("CHAN-CON-AP"), plain_label("OBS-XX")
    ('ANAT-DP', 'CHAN', '')
    """
    parts = [part.strip().lower() for part in label.split("::" if "::" in label else "-")]
    if parts[0] == _CHANGE.lower():
        return _CHANGE
    kind, certainty = _KINDS.get(parts[0]), _CERTAINTIES.get(parts[-1])
    return f"{kind}-{certainty}" if kind and certainty else ""


def in_list(outputs: Iterable[object]) -> Iterator[tuple[str, object]]:
    """(key, study) of a list whose elements are studies, or objects of studies as the package radgraph returns them.

    A study in the list has its position as key, and so has one whose key is a number: the package counts from "0" in
    every call.

    >>> [key for key, _ in in_list([{"0": {}, "1": {}}, {"0": {}}, {"p1/s5.txt": {}}])]
    ['0', '1', '2', 'p1/s5.txt']
    """
    position = 0
    for output in outputs:
        many = output if isinstance(output, Mapping) and not {"text", "entities"} & output.keys() else {"0": output}
        for key, study in many.items():
            yield (str(position) if str(key).isdecimal() else str(key)), study
            position += 1


def _unwrapped(study: object) -> object:
    """A study of the test set of RadGraph 1.0 has the entities of two readers; the first one's are taken."""
    if not isinstance(study, Mapping) or "entities" in study:
        return study
    readers = (study.get("labeler_1"), study.get("labeler_2"))
    return {**study, **next((one for one in readers if isinstance(one, Mapping)), {})}


def _sentence_of_token(tokens: list[str]) -> list[int]:
    numbers, current = [], 0
    for token in tokens:
        numbers.append(current)
        current += token in _SENTENCE_ENDS
    return numbers


def _entity(entity: Mapping, sentences: Sequence[int]) -> Entity:
    tokens, label, lemma = entity["tokens"], plain_label(entity["label"]), entity.get("lemma")
    text = (lemma if lemma and label not in OBSERVED else tokens).lower()
    relations = tuple([(kind, str(target)) for kind, target in entity["relations"]])
    return Entity(text, lemma or lemmatise(tokens), label, sentences[entity["start_ix"]], relations)


def _problem(entity: object, raw: Mapping, length: int) -> str:
    """What is wrong with an entity of a text of `length` tokens, beginning with the field's name; "" if nothing is."""
    if not isinstance(entity, Mapping) or not isinstance(entity.get("tokens"), str):
        return "'tokens' must be a string"
    if not isinstance(entity.get("label"), str):
        return f"'label' is {entity.get('label')!r}; expected one such as 'OBS-DP'"
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
        if not pair or not isinstance(relation[0], str) or str(relation[1]) not in raw:
            return f"'relations' has {relation!r}; expected [type, id of an entity here]"
    return ""
