"""The TFDS builder that every data set shares: it writes the parts of a plan as ArrayRecord."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines import records
from data_pipelines.datasets.building.parts import Part, read_parts
from data_pipelines.datasets.building.plan import Drop, Job, Made, Plan
from data_pipelines.datasets.building.shards import write_split
from medslip_jax.errors import InputError


# TFDS has no types, so that mypy asks `object` for the argument.
class PlannedBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base of the builders. A subclass has `name`, `OPTIONS`, a dataclass, and a `plan`.

    After the build `drops` lists what was left out, `notes` what to know of the splits, `image_notes` odd images, and
    `manifest` has a line for every row.

    Args:
      plan: what to build.
      parts: split -> its encoded parts, all of them on disk.
    """

    VERSION = tfds.core.Version("1.0.0")
    OPTIONS: type

    @staticmethod
    def plan(*_: Any, **arguments: Any) -> Plan:
        """Reads lists and folders, as a rule no image.

        Args:
          root: directory of the download or of the user's files.
          options: an instance of `OPTIONS`; None stands for its defaults.
          policy: "skip" lists what cannot be used and goes on, "fail" makes it an error.

        Raises:
          InputError: an incomplete download (unless `options.partial`), a list that cannot be read, or nothing is left.
        """
        raise NotImplementedError

    def __init__(self, *, plan: Plan, parts: Mapping[str, Sequence[Part]], **kwargs):
        self._plan, self._parts = plan, parts
        self.drops: list[Drop] = list(plan.drops)
        self.notes: list[str] = list(plan.notes)
        self.image_notes: list[str] = []
        self.manifest: list[dict] = list(map(_dropped, plan.drops))
        self._first_seen: dict[str, tuple[str, str, int]] = {}
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._plan.description,
            features=records.features([key for key in records.OPTIONAL_KEYS if self._plan.metadata.get(key)]),
            metadata=tfds.core.MetadataDict(self._plan.metadata),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, parts) for split, parts in self._parts.items() if parts}

    def _generate_splits(self, dl_manager, download_config) -> list[tfds.core.SplitInfo]:
        """In place of TFDS's own writer, see `shards`."""
        del download_config
        return [
            write_split(
                examples=(record for _, record in examples),
                name=split,
                features=self.info.features,
                template=self._get_filename_template(split_name=split),
            )
            for split, examples in self._split_generators(dl_manager).items()
        ]

    def _generate_examples(self, split: str, parts: Sequence[Part]) -> Iterator[tuple[int, dict]]:
        kept, before = 0, len(self.drops)
        for number, (job, made) in enumerate(read_parts(parts)):
            if made.record is None:
                drop = Drop(job.row, job.file, made.kind, made.reason, job.split, made.sha256)
                self.drops.append(drop)
                self.manifest.append(_dropped(drop))
                continue
            self._note(job, made)
            patient, labels = made.record["patient_id"], "|".join(made.labels)
            self.manifest.append(_line(job, patient=patient, labels=labels, sha256=made.sha256))
            kept += 1
            yield number, made.record
        if not kept:
            dropped = self.drops[before:]
            first = f"all {len(dropped)} rows were dropped, the first: {dropped[0].reason}"
            raise InputError(f"{self._plan.listing}: split {split}: {first}")

    def _note(self, job: Job, made: Made) -> None:
        self.image_notes += [f"row {job.row}: {job.file}: {note}" for note in made.notes]
        if not made.sha256:
            return
        file, split, row = self._first_seen.setdefault(made.sha256, (job.file, job.split, job.row))
        if split != job.split:
            self.notes.append(
                f"{self._plan.listing.name}: row {job.row}: {job.file} in {job.split} is the same file as {file} "
                f"in {split} (row {row})"
            )


def _line(entry: Job | Drop, *, patient: str = "", labels: str = "", sha256: str = "", reason: str = "") -> dict:
    where = {"row": entry.row, "file": entry.file, "split": entry.split}
    return where | {"patient": patient, "labels": labels, "sha256": sha256, "reason": reason}


def _dropped(drop: Drop) -> dict:
    return _line(drop, sha256=drop.sha256, reason=f"{drop.kind}: {drop.reason}")
