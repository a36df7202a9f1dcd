"""The TFDS builder that every data set shares: it writes the parts of a plan as ArrayRecord files, with the same bytes
in every process and one record in memory at a time.

TFDS's own writer gives neither. It leaves the order of a record's fields to the hash seed of the process, and it keeps
a split in memory up to 1 GB, beyond which it asks for TensorFlow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from data_pipelines import records
from data_pipelines.datasets.building.parts import Part, read_parts
from data_pipelines.datasets.building.plan import Drop, Job, Made, Plan
from medslip_jax.errors import InputError

# Bytes of records in a file. Every reader opens all files, so not many; a file is copied whole, so not one.
SHARD_BYTES = 256 * 2**20


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
        """In place of TFDS's own writer."""
        del download_config
        return [
            _write_split(
                (record for _, record in examples),
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


def _write_split(
    examples: Iterable[dict], *, name: str, features: tfds.features.FeaturesDict, template
) -> tfds.core.SplitInfo:
    """Writes a split.

    Args:
      examples: encoded records (`records.encode`) in order, at least one.
      name: of the split.
      features: of the records (`records.features`).
      template: TFDS's template of the names of the split's files.

    Returns:
      The files, as TFDS describes them.

    Raises:
      RuntimeError: ArrayRecord's writer, on a full disk for one.
    """
    serializer = ExampleSerializer(features.get_serialized_info())
    directory = Path(template.data_dir)
    lengths: list[int] = []
    filled, total, writer = 0, 0, None
    for example in examples:
        data = serializer.get_tf_example(features.encode_example(example)).SerializeToString(deterministic=True)
        if writer is None or filled + len(data) > SHARD_BYTES:
            if writer is not None:
                writer.close()
            writer = array_record_module.ArrayRecordWriter(str(_temporary(directory, len(lengths))), "group_size:1")
            lengths, filled = [*lengths, 0], 0
        writer.write(data)
        lengths[-1], filled, total = lengths[-1] + 1, filled + len(data), total + len(data)
    if writer is not None:
        writer.close()
    for number in range(len(lengths)):  # the names hold the number of files, which is known only now
        final = template.sharded_filepath(shard_index=number, num_shards=len(lengths))
        _temporary(directory, number).rename(Path(final))
    return tfds.core.SplitInfo(name=name, shard_lengths=lengths, num_bytes=total, filename_template=template)


def _temporary(directory: Path, number: int) -> Path:
    return directory / f".shard-{number}"
