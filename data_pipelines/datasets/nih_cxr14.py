"""TFDS builder of NIH ChestX-ray14: 112,120 frontal X-rays of 30,805 patients with 14 text-mined labels, 984 boxes.

Counts: README_CHESTXRAY.pdf and FAQ of the download; Wang et al., "ChestX-ray8: Hospital-scale Chest X-ray Database
and Benchmarks" (CVPR 2017). In the published lists no patient is on both sides, and every box is of a test image with
that label.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_pipelines import images
from data_pipelines.datasets.building.plan import SPLITS, Drop, Job, Made, Plan, Policy
from data_pipelines.datasets.nih_cxr14_lists import CLASSES, LISTS, BoxRow, Entry, read_boxes, read_entries, read_sides
from data_pipelines.datasets.shared import attributes, official, xray
from data_pipelines.datasets.shared.splits import split_of
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index

ENTRIES, BOXES = "Data_Entry_2017*.csv", "BBox_List_2017.csv"
IMAGES = "images*/**/*.png"
ROWS = {"entries": 112_120, "train_val": 86_524, "test": 25_596, "boxes": 984}
SIDE = 1024  # of every image in pixels; the boxes were drawn there
VIEWS = ("AP", "PA")
_ANNOTATED = tuple(sorted(pathology_index(name) for name in CLASSES.values()))


@dataclasses.dataclass(frozen=True)
class NihOptions(official.OfficialOptions):
    """Options of NIH ChestX-ray14, beside those of every official data set; there are no reports, so `text` is unused.

    Attributes:
      validation_share: of the official train_val list, drawn by a hash of the patient id (`splits.split_of`).
      views: keep only "AP" or "PA" images (both if empty); others are listed as drops.
    """

    validation_share: float = 0.1
    views: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        super().__post_init__()
        if type(self.validation_share) not in (int, float) or not 0 <= self.validation_share < 1:
            raise InputError(f"validation_share={self.validation_share!r}: expected a share from 0 to below 1")
        if not isinstance(self.views, list) or not all(view in VIEWS for view in self.views):
            raise InputError(f"views={self.views!r}: expected a list of {', '.join(VIEWS)}")


class NihCxr14(official.OfficialBuilder):
    """Each image states all 14 classes; official test list, validation drawn by patient from the rest."""

    name = "nih_cxr14"
    OPTIONS = NihOptions
    EXPECTED = (
        official.Expected(ENTRIES, 1, "labels: Data_Entry_2017_v2020.csv or Data_Entry_2017.csv"),
        official.Expected(BOXES, 1, "boxes"),
        *(official.Expected(name, 1, "official split") for name in LISTS),
        official.Expected(IMAGES, ROWS["entries"], "images_001.tar.gz .. images_012.tar.gz, unpacked"),
    )

    @classmethod
    def planned(cls, root: Path, options: NihOptions, policy: Policy) -> Plan:
        """Reads the four lists; an image or a patient on both sides of the split is an error under any policy."""
        listing = sorted(root.glob(ENTRIES))[-1]
        sides, entries, boxes = _read(root, listing, partial=options.partial)
        files = official.files_by_name(root, IMAGES)
        drops = list(_drops(entries, options, sides=sides, files=files))
        official.obey(policy, listing=listing, drops=drops, kinds=("missing image", "duplicate id", "empty cell"))
        dropped = {drop.row for drop in drops}
        kept = [entry for entry in entries if entry.number not in dropped]
        _check_patients(listing, kept, sides)
        by_image = {entry.image: entry for entry in reversed(entries)}
        inside, notes = _inside(boxes, root / BOXES, entries=by_image, policy=policy)
        unlisted = sides.keys() - by_image.keys()
        if unlisted:
            notes.append(
                f"{listing.name}: no row for {len(unlisted)} images of the split lists, such as {min(unlisted)}"
            )
        odd = attributes.odd_ages({f"{listing.name} row {entry.number}": entry.age for entry in kept})
        notes += [odd] if odd else []
        return Plan(
            jobs=_jobs(kept, inside, options, sides=sides, files=files),
            encode=functools.partial(encode, root=root, storing=options.storing),
            description="NIH ChestX-ray14: frontal X-rays with 14 text-mined labels, some boxes (Wang et al. 2017).",
            metadata=dataclasses.asdict(options) | {"entries": listing.name, "attributes": list(attributes.NAMES)},
            listing=listing,
            drops=drops,
            notes=notes,
            policy=policy,
        )


def encode(job: Job, *, root: Path, storing: xray.Storing) -> Made:
    """`xray.make`, but an image with boxes must have the size that they were drawn at: in a copy that somebody scaled
    down they would lie elsewhere."""
    if job.payload.boxes:
        try:
            height, width = images.read_grey(root / job.file).shape
        except (ValueError, MemoryError):
            height, width = SIDE, SIDE  # `xray.make` says what is wrong
        if (height, width) != (SIDE, SIDE):
            reason = f"{root / job.file}: {width} x {height} pixels, its boxes were drawn on {SIDE} x {SIDE}"
            return Made(kind="other size", reason=reason)
    return xray.make(job, root=root, storing=storing)


def _read(root: Path, listing: Path, *, partial: bool) -> tuple[dict[str, str], list[Entry], list[BoxRow]]:
    sides, entries, boxes = read_sides(root), list(read_entries(listing)), read_boxes(root / BOXES)
    counts = collections.Counter(sides.values())
    for file, side in LISTS.items():
        official.require_rows(root / file, counts[side], official=ROWS[side], partial=partial)
    official.require_rows(listing, len(entries), official=ROWS["entries"], partial=partial)
    official.require_rows(root / BOXES, len(boxes), official=ROWS["boxes"], partial=partial)
    return sides, entries, boxes


def _drops(
    entries: Sequence[Entry], options: NihOptions, *, sides: Mapping[str, str], files: Mapping[str, str]
) -> Iterator[Drop]:
    first: dict[str, int] = {}
    for entry in entries:
        kind, reason = "", ""
        if not entry.image or not entry.patient or entry.present is None:
            kind, reason = "empty cell", "no Image Index, no Patient ID or no Finding Labels"
        elif entry.image in first:
            kind, reason = "duplicate id", f"{entry.image} is in row {first[entry.image]} already"
        elif entry.image not in sides:
            kind, reason = "in no list", f"{entry.image} is neither in {' nor in '.join(LISTS)}"
        elif options.views and entry.view not in options.views:
            kind, reason = "other view", f"view {entry.view!r} is not in views"
        elif entry.image not in files:
            kind, reason = "missing image", f"no file {entry.image} in {IMAGES}"
        first.setdefault(entry.image, entry.number)
        if kind:
            yield Drop(entry.number, files.get(entry.image, entry.image), kind, reason)


def _check_patients(listing: Path, entries: Sequence[Entry], sides: Mapping[str, str]) -> None:
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.patient, entry)
        if sides[other.image] != sides[entry.image]:
            raise InputError(
                f"{listing}: row {entry.number}: patient {entry.patient} is in {sides[entry.image]}, "
                f"and in {sides[other.image]} in row {other.number}; one patient belongs to one side"
            )


def _inside(
    boxes: Sequence[BoxRow], path: Path, *, entries: Mapping[str, Entry], policy: Policy
) -> tuple[dict[str, list[xray.Box]], list[str]]:
    """Image -> its boxes, without those that no pixel or no entry belongs to; and a note on each odd one."""
    kept, notes = collections.defaultdict(list), []
    for row in boxes:
        said, box, (pathology,) = f"{path.name}: row {row.number}: {row.image}", row.box, row.box.pathologies
        if row.image not in entries:
            notes.append(f"{said} has no entry; box left out")
            continue
        if pathology not in (entries[row.image].present or ()):
            notes.append(f"{said}: {PATHOLOGIES[pathology]} is none of its labels; taken as present")
        if box.x < SIDE and box.y < SIDE and box.x + box.w > 0 and box.y + box.h > 0:
            kept[row.image].append(box)
        else:
            where = f"x={box.x} y={box.y} w={box.w} h={box.h} lies outside the image of {SIDE} x {SIDE}"
            if policy == "fail":
                raise InputError(f"{path}: row {row.number}: box {where}; repair it or build with policy skip")
            notes.append(f"{said}: box {where}; left out")
    return kept, notes


def _jobs(
    entries: Sequence[Entry],
    boxes: Mapping[str, Sequence[xray.Box]],
    options: NihOptions,
    *,
    sides: Mapping[str, str],
    files: Mapping[str, str],
) -> dict[str, list[Job]]:
    share = {"train": 1 - options.validation_share, "validation": options.validation_share}
    jobs = collections.defaultdict(list)
    for entry in entries:
        split = "test" if sides[entry.image] == "test" else split_of(entry.patient, share)
        payload = xray.XRay(
            image_id=entry.image,
            patient=entry.patient,
            present=entry.present or (),
            annotated=_ANNOTATED,
            has_labels=True,
            boxes=tuple(boxes.get(entry.image, ())),
            attributes=attributes.attributes_of(sex=entry.sex, age=entry.age, view=entry.view),
        )
        jobs[split].append(Job(row=entry.number, file=files[entry.image], split=split, payload=payload))
    return {split: jobs[split] for split in SPLITS if jobs[split]}
