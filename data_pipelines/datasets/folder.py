"""TFDS builder of a CSV file and a folder of images; `folder_options.FolderOptions` says what may vary."""

import collections
import dataclasses
import functools
from pathlib import Path
from typing import Any

from data_pipelines.datasets.building.plan import SPLITS, Drop, Job, Plan, Policy
from data_pipelines.datasets.building.planned import PlannedBuilder
from data_pipelines.datasets.folder_options import FolderOptions
from data_pipelines.datasets.folder_rows import Row, read_rows
from data_pipelines.datasets.shared import attributes, xray
from data_pipelines.images import ImagePolicy
from data_pipelines.reports import TextPolicy, select_section


class Folder(PlannedBuilder):
    """Real X-rays from a CSV file."""

    name = "folder"
    OPTIONS = FolderOptions

    @staticmethod
    def plan(*, root: str | Path, options: FolderOptions | None = None, policy: Policy = "fail") -> Plan:
        """Reads the CSV file; it and the image paths are relative to `root`."""
        root, options = Path(root), options or FolderOptions()
        notes: list[str] = []
        listing = root / options.csv
        drops: list[Drop] = []
        by_image = "split" not in options.columns and "patient" not in options.columns
        if by_image and max(options.split_fractions.values()) < 1:
            notes.append(
                f"{options.csv}: the splits are drawn by image, as `columns` names no 'patient': "
                "images of one patient may be in two splits"
            )
        jobs, ages = collections.defaultdict(list), {}
        for row in read_rows(listing, options, notes=notes, drops=drops if policy == "skip" else None):
            ages[f"{options.csv} row {row.number}"] = row.age
            if options.views and row.view not in options.views:
                drops.append(
                    Drop(row.number, row.image, "other view", f"view {row.view!r} is not in views", split=row.split)
                )
            else:
                payload = xray_of(row, options)
                jobs[row.split].append(Job(row=row.number, file=row.image, split=row.split, payload=payload))
        odd, known = attributes.odd_ages(ages), known_attributes(options)
        notes += [odd] if odd else []
        return Plan(
            jobs={split: jobs[split] for split in SPLITS if jobs[split]},
            encode=functools.partial(
                xray.make, root=root, storing=storing_of(options), text=TextPolicy(**options.text)
            ),
            description=f"X-rays of {options.csv}. {options.notes}".strip(),
            metadata=dataclasses.asdict(options) | ({"attributes": known} if known else {}),
            listing=listing,
            drops=drops,
            notes=notes,
            policy=policy,
        )


def storing_of(options: FolderOptions) -> xray.Storing:
    return xray.Storing(size=options.size, image_format=options.image_format, policy=ImagePolicy(**options.image))


def known_attributes(options: FolderOptions) -> list[str]:
    """Names of the attributes that the CSV has columns of."""
    return [name for name in attributes.NAMES if name in options.columns]


def xray_of(row: Row, options: FolderOptions) -> xray.XRay:
    """A row with its labels as class indices."""
    return xray.XRay(
        image_id=row.image,
        patient=row.patient,
        report=select_section(row.report, options.text.get("section", "both")),
        present=row.present,
        annotated=row.annotated,
        has_labels=row.has_labels,
        boxes=tuple(xray.Box(x=b["x"], y=b["y"], w=b["w"], h=b["h"], **_meant(b, options)) for b in row.boxes),
        masks=tuple(xray.Mask(file=m["file"], **_meant(m, options)) for m in row.masks),
        attributes=attributes.attributes_of(sex=row.sex, age=row.age, view=row.view)
        if known_attributes(options)
        else None,
    )


def _meant(entry: dict, options: FolderOptions) -> dict[str, Any]:
    return {"pathologies": options.classes_of(entry["label"]), "anatomies": options.anatomies_of(entry["label"])}
