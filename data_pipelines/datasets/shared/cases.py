"""Images of an official data set that has no split of its own -> a plan: splits by list or by hash, drops, notes."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from data_pipelines.datasets.building.plan import SPLITS, Drop, Job, Made, Plan, Policy
from data_pipelines.datasets.shared import xray
from data_pipelines.datasets.shared.official import OfficialOptions
from data_pipelines.datasets.shared.splits import read_split_lists, split_of
from medslip_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class SplitOptions(OfficialOptions):
    """Options of a data set that is published without a split.

    Attributes:
      split_files: lists of image ids, relative to the root: {split: text file with one id a line}, or the name of one
        JSON file {split: [id, ...]}. Images in no list are left out. Empty: by `split_fractions`.
      split_fractions: shares of the patients, by a hash of the patient id (see `splits.split_of`).
      patients: file that says which images are of one patient, relative to the root, in the form that the data set's
        own options describe. Without it an image is a patient of its own, as the listings name none.
    """

    split_files: Mapping[str, str] | str = ""
    split_fractions: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1}
    )
    patients: str = ""

    def __post_init__(self):
        super().__post_init__()
        files, shares = self.split_files, self.split_fractions
        if not isinstance(self.patients, str):
            raise InputError(f"patients={self.patients!r}: expected the name of a file")
        names = files.values() if isinstance(files, Mapping) else [files]
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"split_files={files!r}: expected {{split: text file}} or the name of a JSON file")
        numbers = isinstance(shares, Mapping) and all(type(share) in (int, float) for share in shares.values())
        if not numbers or set(shares) - set(SPLITS) or min(shares.values(), default=-1) < 0:
            raise InputError(f"split_fractions={shares!r}: expected shares of {', '.join(SPLITS)}")
        if not abs(sum(shares.values()) - 1) <= 1e-6:  # NaN, which JSON files may hold, is neither
            raise InputError(f"split_fractions={dict(shares)}: the shares do not add up to 1")


@dataclasses.dataclass(frozen=True)
class Case:
    """An image with its labels: the first row that names it, its file relative to the root."""

    row: int
    file: str
    xray: xray.XRay


@dataclasses.dataclass
class Drops:
    """Collects what is left out before an image is read; under policy "fail" the first one is an error."""

    listing: Path
    policy: Policy
    found: list[Drop] = dataclasses.field(default_factory=list)

    def add(self, row: int, file: str, kind: str, reason: str) -> None:
        if self.policy == "fail":
            raise InputError(f"{self.listing}: row {row}: {reason}; repair it or build with policy skip")
        self.found.append(Drop(row, file, kind, reason))


def plan_of(
    cases: Sequence[Case],
    *,
    root: Path,
    options: SplitOptions,
    drops: Drops,
    known: Collection[str],
    description: str,
    notes: Iterable[str] = (),
    encode: Callable[..., Made] | None = None,
    attributes: Sequence[str] = (),
) -> Plan:
    """The plan of these images in the order of their rows.

    Args:
      cases: the images that can be read, as far as listings and folders tell.
      root: what paths are relative to.
      options: of the data set.
      drops: what was left out so far.
      known: ids of all images of the download, dropped or not, which split lists may name.
      description: of the data set.
      notes: what to know of it.
      encode: `xray.make`, or what calls it.
      attributes: names of the attributes that `encode` gives every record, see `records`.

    Raises:
      InputError: a split list that cannot be read or, unless `options.partial`, names an image that is not there.
    """
    lists = read_split_lists(root, options.split_files) if options.split_files else None
    notes = [*notes, *_unknown(lists or {}, known, options)]
    jobs = _jobs(cases, lists, options, drops)
    return Plan(
        jobs={split: jobs[split] for split in SPLITS if jobs[split]},
        encode=functools.partial(encode or xray.make, root=root, storing=options.storing),
        description=description,
        metadata=dataclasses.asdict(options) | ({"attributes": list(attributes)} if attributes else {}),
        listing=drops.listing,
        drops=drops.found,
        notes=[*notes, *_shared_patients(jobs)],
        policy=drops.policy,
    )


def _jobs(
    cases: Sequence[Case], lists: Mapping[str, str] | None, options: SplitOptions, drops: Drops
) -> Mapping[str, list[Job]]:
    """Split -> its jobs; an image that is in none of the lists is a drop, under policy "fail" too."""
    jobs: dict[str, list[Job]] = collections.defaultdict(list)
    for case in sorted(cases, key=lambda case: (case.row, case.file)):
        patient, image = case.xray.patient, case.xray.image_id
        split = split_of(patient, dict(options.split_fractions)) if lists is None else lists.get(image)
        if split is None:
            drops.found.append(Drop(case.row, case.file, "in no split list", f"{image} is in no list of split_files"))
        else:
            jobs[split].append(Job(row=case.row, file=case.file, split=split, payload=case.xray))
    return jobs


def _unknown(lists: Mapping[str, str], known: Collection[str], options: SplitOptions) -> list[str]:
    """A note on ids of the lists that the data set does not have, which only a partial one may lack."""
    unknown = [image for image in lists if image not in known]
    if not unknown:
        return []
    said = f"split_files={options.split_files!r}: {len(unknown)} ids are not in this data set, the first: {unknown[0]}"
    if options.partial:
        return [said]
    raise InputError(f"{said}; take the lists of this release or build with --partial")


def _shared_patients(jobs: Mapping[str, Sequence[Job]]) -> list[str]:
    """One note if the lists put a patient into several splits."""
    splits: dict[str, set[str]] = collections.defaultdict(set)
    for split, found in jobs.items():
        for job in found:
            splits[job.payload.patient].add(split)
    shared = [patient for patient, found in splits.items() if len(found) > 1]
    if not shared:
        return []
    return [f"{len(shared)} patients have images in several splits, the first: {shared[0]}"]
