"""TFDS builder of COVIDx CXR-4: 84,818 X-rays of 45,342 patients, COVID-19 positive or negative.

Counts: Wu et al., "COVIDx CXR-4: An Expanded Multi-Institutional Open-Source Benchmark Dataset" (arXiv 2311.17677),
and the lists of its Kaggle release.

How the truth is stored. COVID-19 is none of the 75 classes: the paper asks for it by a 76th query, given as text and
unseen in training (SPEC 7). A stand-in among the 75 would lie: "pneumonia" of a negative image may well be present, as
many negatives are other pneumonias, and the metric would be called by a wrong name. So a record has `targets`
{"covid19": 1 or 0}, an optional field of `records` that the loader does not read: `labels` and `matrix` are -1
throughout, and nothing about COVID-19 can reach training. Data sets without targets keep their schema and bytes.

Sources overlap with those of other sets: the `rsna` images are from NIH ChestX-ray14 and the RSNA challenge, so they
are not new to a model that was pre-trained on these.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines.datasets.building.plan import SPLITS, Drop, Job, Plan, Policy
from data_pipelines.datasets.shared import official, xray
from data_pipelines.datasets.shared.listings import text_lines
from data_pipelines.images import files_of
from medslip_jax.errors import InputError

TARGET = "covid19"
FOLDERS = {"train": "train", "val": "validation", "test": "test"}
ROWS = {"train": 67_863, "val": 8_473, "test": 8_482}
_CLASSES = {"positive": 1, "negative": 0}
# Spelt both ways in the published lists.
_SOURCES = {"rnsa": "rsna"}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a list; `number` counts all three lists through, train first, `at` is where it stands."""

    number: int
    at: str
    folder: str
    patient: str
    file: str
    covid: int

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file}"


class CovidX(official.OfficialBuilder):
    """The official splits; truth in `targets`, none in `labels`: for zero-shot evaluation, not for pre-training."""

    name = "covidx"
    OPTIONS = official.OfficialOptions
    EXPECTED = (
        *(official.Expected(f"{folder}.txt", 1, f"list of the {split} split") for folder, split in FOLDERS.items()),
        *(official.Expected(f"{folder}/*.*", ROWS[folder], f"{split} images") for folder, split in FOLDERS.items()),
    )

    @classmethod
    def planned(cls, root: Path, options: official.OfficialOptions, policy: Policy) -> Plan:
        """Reads the three lists; there are no reports, so `options.text` is unused."""
        lines = list(_lines(root, partial=options.partial))
        drops = list(_drops(lines, files={path for f in FOLDERS for path in _paths(root, f)}))
        official.obey(policy, listing=root, drops=drops, kinds=("missing image", "duplicate id"))
        dropped = {drop.row for drop in drops}
        kept = [line for line in lines if line.number not in dropped]
        return Plan(
            jobs=_jobs(kept),
            encode=functools.partial(xray.make, root=root, storing=options.storing),
            description="COVIDx CXR-4: X-rays of COVID-19 positive and negative patients (Wu et al. 2023).",
            metadata=dataclasses.asdict(options) | {"targets": [TARGET]},
            listing=root / "train.txt, val.txt, test.txt",
            drops=drops,
            notes=[*_unlisted(root, lines), *_shared(kept)],
            policy=policy,
        )


def _lines(root: Path, *, partial: bool) -> Iterator[Line]:
    """A patient may be two words ("COVID 1"), a file may not: the last three words are file, class and source."""
    number = 0
    for folder in FOLDERS:
        path, before = root / f"{folder}.txt", number
        for row, text in text_lines(path):
            *patient, file, label, source = text.split() if len(text.split()) > 3 else [""] * 3
            if not patient or label not in _CLASSES:
                expected = "patient file class source, class being positive or negative"
                raise InputError(f"{path}: row {row}: {text!r}; expected {expected}")
            number += 1
            who = f"{_SOURCES.get(source, source)}/{' '.join(patient)}"  # "3" of two sources is not one patient
            yield Line(number, f"{path.name} row {row}", folder, who, file, _CLASSES[label])
        official.require_rows(path, number - before, official=ROWS[folder], partial=partial)


def _paths(root: Path, folder: str) -> Iterator[str]:
    return (f"{folder}/{path.name}" for path in files_of(root / folder, "*"))


def _drops(lines: Sequence[Line], *, files: set[str]) -> Iterator[Drop]:
    first: dict[str, Line] = {}
    for line in lines:
        other = first.setdefault(line.path, line)
        if other is not line:
            also = "" if other.covid == line.covid else ", with the other class"
            reason = f"{line.at}: {line.file} is in {other.at} already{also}"
            yield Drop(line.number, line.path, "duplicate id", reason, split=FOLDERS[line.folder])
        elif line.path not in files:
            yield Drop(line.number, line.path, "missing image", f"{line.at}: no such file", split=FOLDERS[line.folder])


def _jobs(lines: Sequence[Line]) -> Mapping[str, Sequence[Job]]:
    jobs = collections.defaultdict(list)
    for line in lines:
        split = FOLDERS[line.folder]
        payload = xray.XRay(image_id=line.file, patient=line.patient, has_labels=True, targets=((TARGET, line.covid),))
        jobs[split].append(Job(row=line.number, file=line.path, split=split, payload=payload))
    return {split: jobs[split] for split in SPLITS if jobs[split]}


def _unlisted(root: Path, lines: Sequence[Line]) -> Iterator[str]:
    known = {line.path for line in lines}
    for folder in FOLDERS:
        unknown = sorted(set(_paths(root, folder)) - known)
        if unknown:
            yield f"{folder}.txt: {len(unknown)} files of {folder}/ are in no line, such as {unknown[0]}; left out"


def _shared(lines: Sequence[Line]) -> Iterator[str]:
    """Patients of two official splits are said and not moved, as moving them would make other splits."""
    folders: dict[str, dict[str, Line]] = collections.defaultdict(dict)
    for line in lines:
        folders[line.patient].setdefault(line.folder, line)
    shared = {patient: found for patient, found in folders.items() if len(found) > 1}
    if shared:
        patient, found = next(iter(shared.items()))
        where = ", ".join(line.at for line in found.values())
        yield f"{len(shared)} patients are in more than one official split, such as {patient} ({where})"
