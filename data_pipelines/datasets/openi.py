"""TFDS builder of IU X-Ray, the Open-I chest X-rays of Indiana University with their reports: public, no credentials.

Source: Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval", JAMIA
23(2), 2016; 7,470 images and 3,955 reports are what openi.nlm.nih.gov/faq offers. Licence CC BY-NC-ND 4.0.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from data_pipelines import records
from data_pipelines.datasets.building.plan import Drop, Job, Made, Plan, Policy
from data_pipelines.datasets.openi_lists import image_files, picture, read_cases, read_projections
from data_pipelines.datasets.shared import official, xray
from data_pipelines.datasets.shared.cases import Case, Drops, SplitOptions, plan_of
from data_pipelines.datasets.shared.official import Expected
from data_pipelines.images import view_position
from data_pipelines.reports import TextPolicy, read_reports
from medslip_jax.errors import InputError, check_choices

REPORTS = {
    "archive": Expected("NLMCXR_reports.tgz", 1, "the reports, as downloaded"),
    "unpacked": Expected("ecgen-radiology/*.xml", 3955, "the reports, of NLMCXR_reports.tgz"),
}
IMAGES = {
    "png": Expected("NLMCXR_png/**/*.png", 7470, "the images, of NLMCXR_png.tgz"),
    "dicom": Expected("NLMCXR_dcm/**/*.dcm", 7470, "the images, of NLMCXR_dcm.tgz"),
}
FRONTAL = ("PA", "AP")


@dataclasses.dataclass(frozen=True)
class OpeniOptions(SplitOptions):
    """Options of IU X-Ray. A report is a patient: the collection does not say which reports are of one person.

    Of `text`: `lateral` "drop" needs `projections`, as the reports do not say which image is lateral. Without it,
    DICOM headers are asked; they call laterals PA too, or say nothing (headers of reports 1 to 5), so what they do not
    call another view stays, and of PNG everything does. The notes of a build say so.

    Attributes:
      source: "png" or "dicom", which of the two downloads of the images is read.
      reports: "archive" reads NLMCXR_reports.tgz, "unpacked" the directory that it unpacks to.
      projections: indiana_projections.csv (kaggle.com/datasets/raddar/chest-xrays-indiana-university; columns filename
        and projection, frontal or lateral), relative to the root or absolute; "" for none. An image that it does not
        list is left out with the laterals.
      truth: what `labels`, the truth of evaluation, come from: "mesh", the human codes of the report files (see
        `reports.mesh`), or "report", what is extracted from the text. The matrix is of the text in both.
    """

    source: Literal["png", "dicom"] = "png"
    reports: Literal["archive", "unpacked"] = "archive"
    projections: str = ""
    truth: Literal["mesh", "report"] = "mesh"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, section="options")
        if not isinstance(self.projections, str):
            raise InputError(f"options.projections={self.projections!r}: expected a path")
        if self.patients:
            raise InputError(f"options.patients={self.patients!r}: nothing says which reports are of one patient")


class Openi(official.OfficialBuilder):
    """Chest X-rays of IU X-Ray."""

    name = "openi"
    OPTIONS = OpeniOptions
    EXPECTED = (REPORTS["archive"], IMAGES["png"])

    @classmethod
    def expected(cls, options: OpeniOptions) -> tuple[Expected, ...]:
        """What the tree has for these options."""
        return REPORTS[options.reports], IMAGES[options.source]

    @classmethod
    def planned(cls, root: Path, options: OpeniOptions, policy: Policy) -> Plan:
        """Reads all reports and lists the images; opens DICOM files where their view is asked."""
        source = root / REPORTS[options.reports].pattern.removesuffix("/*.xml")
        drops = Drops(source, policy)
        files = image_files(root, IMAGES[options.source].pattern, drops)
        found = read_cases(read_reports(source), files, drops, section=options.text.section, truth=options.truth)
        kept, notes = _wanted_views(_with_text(found, options.text, drops), root, options, drops)
        return plan_of(
            kept,
            root=root,
            options=options,
            drops=drops,
            known={case.xray.image_id for case in found},
            description=f"Chest X-rays of IU X-Ray (Open-I) with reports; labels from {options.truth}.",
            notes=notes,
            encode=functools.partial(encode, text=options.text),
        )


def _with_text(found: Sequence[Case], text: TextPolicy, drops: Drops) -> list[Case]:
    """Without the images whose report has no text, unless the policy keeps them; these are drops."""
    said = f"no text for section {text.section!r}"
    if text.empty_text == "drop":
        drops.found += [
            Drop(case.row, case.file, "empty text", f"{case.row}.xml: {said}") for case in found if not case.xray.report
        ]
    return [case for case in found if case.xray.report or text.empty_text == "keep"]


def _wanted_views(
    found: Sequence[Case], root: Path, options: OpeniOptions, drops: Drops
) -> tuple[list[Case], list[str]]:
    """What is not known to be another view than frontal, and what to know of it; the rest are drops."""
    if options.text.lateral == "keep":
        return list(found), []
    views, notes = _views(found, root, options)
    kept = []
    for case, view in zip(found, views, strict=True):
        if view in ("frontal", *FRONTAL):
            kept.append(case)
        elif view:
            drops.found.append(Drop(case.row, case.file, "lateral view", f"view {view}"))
        else:
            said = f"{case.xray.image_id} is not in {options.projections}"
            drops.found.append(Drop(case.row, case.file, "unknown view", said))
    return kept, notes


def _views(found: Sequence[Case], root: Path, options: OpeniOptions) -> tuple[list[str], list[str]]:
    """The view of each image, "" for one that is to go as nobody knows it, and notes."""
    if options.projections:
        projections = read_projections(root / options.projections)
        return [projections.get(picture(case.xray.image_id), "") for case in found], []
    hint = "name indiana_projections.csv with option projections"
    if options.source == "png":
        note = f"all {len(found)} images are kept, though about half are lateral, as nothing says which; {hint}"
        return ["frontal"] * len(found), [note]
    stated = [view_position(root / case.file) for case in found]
    note = (
        f"lateral views are told by the ViewPosition of the DICOM files, which {stated.count('')} of {len(stated)} do "
        f"not state (kept); this collection has PA for some laterals too: {hint}"
    )
    return [view or "frontal" for view in stated], [note]


def encode(job: Job, *, root: Path, storing: xray.Storing, text: TextPolicy) -> Made:
    """`Plan.encode`: the matrix is of the report alone, also where labels are of the human codes."""
    known = job.payload
    report = dataclasses.replace(known, present=(), annotated=(), has_labels=False)
    made = xray.make(dataclasses.replace(job, payload=report), root=root, storing=storing, text=text)
    if made.record is None or not known.has_labels:
        return made
    labels = xray.labels_of(known, [])
    record = made.record | {"labels": labels.tobytes()}
    return dataclasses.replace(made, record=record, labels=records.present({"labels": labels}))
