"""What a build is going to do, known before it reads the first image: jobs, what is left out, what is echoed."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from data_pipelines import records
from data_pipelines.images import printable
from medslip_jax.errors import InputError

SPLITS = ("train", "validation", "test")
# What happens to a row whose image or mask cannot be used.
Policy = Literal["skip", "fail"]
POLICIES = ("skip", "fail")


@dataclasses.dataclass(frozen=True)
class Job:
    """One example to be made.

    Attributes:
      row: where it is listed, as a spreadsheet counts.
      file: the source image relative to the root, for manifest and messages.
      split: "train", "validation" or "test".
      payload: what `Plan.encode` needs; picklable, and its repr says all of it, as a resumed build compares it.
    """

    row: int
    file: str
    split: str
    payload: Any


@dataclasses.dataclass(frozen=True)
class Made:
    """What became of a job: `record` (encoded, see `records.encode`), or `kind` and `reason` why there is none.

    `sha256` is of the source file's bytes ("" without one), `notes` what is odd about a kept image, `labels` the
    names of the classes that are present, for the manifest.
    """

    record: dict | None = None
    sha256: str = ""
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: str = ""
    reason: str = ""

    def __post_init__(self):
        object.__setattr__(self, "reason", printable(self.reason))


@dataclasses.dataclass(frozen=True)
class Drop:
    """A row that is left out: `kind` in a few words, to be counted by, and `reason` with the particulars. Bytes of a
    file name that are not UTF-8 are escaped."""

    row: int
    file: str
    kind: str
    reason: str
    split: str = ""
    sha256: str = ""

    def __post_init__(self):
        for name in ("file", "reason"):
            object.__setattr__(self, name, printable(getattr(self, name)))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A build.

    Attributes:
      jobs: split -> jobs in the order of the records; at least one job in all.
      encode: job -> `Made`; picklable, and raises nothing that one image can cause.
      description: of the data set, in words.
      metadata: options and policies, JSON-able; written into metadata.json. Its "targets" and "attributes", if any,
        are the names of the records' targets and attributes (see `records`).
      listing: the file that rows are counted in, for messages.
      drops: what is left out before an image is read.
      notes: one line each on what to know, such as splits that may not be independent.
      policy: what an unusable image does.
      wanted_drops: kinds of drops that are a choice, such as "empty text", and so no failure under any policy.
    """

    jobs: Mapping[str, Sequence[Job]]
    encode: Callable[[Job], Made]
    description: str
    metadata: Mapping
    listing: Path
    drops: Sequence[Drop] = ()
    notes: Sequence[str] = ()
    policy: Policy = "skip"
    wanted_drops: frozenset[str] = frozenset()

    def __post_init__(self):
        if self.policy not in POLICIES:
            raise InputError(f"policy={self.policy!r}: one of {', '.join(POLICIES)}")
        if not any(self.jobs.values()):
            first = f", the first: {self.drops[0].reason}" if self.drops else ""
            raise InputError(f"{self.listing}: all {len(self.drops)} rows were dropped{first}")

    def fingerprint(self) -> str:
        """Hex digest of everything that the records depend on, except the bytes of the images."""
        digest = hashlib.sha256(json.dumps(self.metadata, sort_keys=True, default=str).encode())
        digest.update(f"{self.policy} {records.KEYS}".encode())
        for split in self.jobs:
            for job in self.jobs[split]:
                digest.update(f"{split}\0{job.row}\0{job.file}\0{job.payload!r}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]
