"""IU X-Ray's reports and image files -> cases and drops. No image is opened.

Rows are report numbers: row 1002 is ecgen-radiology/1002.xml, "CXR1002". The same picture has three names, of which
"1002_IM-0004-1001" is the common part:

    CXR1002_IM-0004-1001, CXR1_1_IM-0001-3001   in the reports, and of the PNG files
    1002_IM-0004-1001.dcm                       of the DICOM files, in a folder 1002
    1002_IM-0004-1001.dcm.png                   in indiana_projections.csv
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_pipelines.datasets.building.plan import Drop
from data_pipelines.datasets.shared.cases import Case, Drops
from data_pipelines.datasets.shared.listings import read_columns
from data_pipelines.datasets.shared.xray import XRay
from data_pipelines.images import files_of
from data_pipelines.reports import OpeniReport, Section, judged_classes
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import pathology_index

PROJECTIONS = ("frontal", "lateral")
_REPORT = re.compile(r"CXR([0-9]+)")
_PICTURE = re.compile(r"(?:CXR[0-9]+_(?=[0-9]+_IM)|CXR)?(([0-9]+)_IM(?:-[0-9]+)+)")
_SUFFIXES = (".dcm.png", ".png", ".dcm")


def picture(name: str) -> str:
    """The common part of a picture's names, without a suffix; the name itself if it is of another form.

    >>> picture("CXR1_1_IM-0001-3001"), picture("1_IM-0001-3001.dcm.png"), picture("CXR1002_IM-0004-1001.png")
    ('1_IM-0001-3001', '1_IM-0001-3001', '1002_IM-0004-1001')
    """
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    match = _PICTURE.fullmatch(name)
    return match[1] if match else name


def number(report: OpeniReport) -> int:
    """1002 for "CXR1002"; `InputError` for another id."""
    match = _REPORT.fullmatch(report.report_id)
    if not match:
        raise InputError(f"Open-I report {report.report_id!r}: expected an id CXR<number>")
    return int(match[1])


def image_files(root: Path, pattern: str, drops: Drops) -> dict[str, str]:
    """Picture -> path relative to the root; of two files of one picture the second is a drop."""
    found: dict[str, str] = {}
    for path in files_of(root, pattern):
        file = path.relative_to(root).as_posix()
        first = found.setdefault(picture(path.name), file)
        if first != file:
            drops.add(_row_of(path.name), file, "duplicate id", f"{file} is the same picture as {first}")
    return found


def read_cases(
    reports: Iterable[OpeniReport], files: Mapping[str, str], drops: Drops, *, section: Section, truth: str
) -> list[Case]:
    """The pictures that have a report and a file, in the order of report numbers.

    Left out are, by kind: "duplicate id", "report without an image", "missing image", "missing report".

    Args:
      reports: all of them.
      files: from `image_files`.
      drops: where the rest goes.
      section: which text of a report is kept.
      truth: "mesh" makes labels of the human codes, see `mesh_labels`, "report" has none.
    """
    found: list[Case] = []
    owners: dict[str, str] = {}
    numbered = sorted([(number(report), report) for report in reports], key=lambda pair: pair[0])
    for (row, report), before in zip(numbered, [0, *(row for row, _ in numbered)], strict=False):
        if row == before:
            drops.add(row, f"{row}.xml", "duplicate id", f"a report {report.report_id} came already")
            continue
        if not report.images:
            drops.found.append(Drop(row, f"{row}.xml", "report without an image", f"{row}.xml names no image"))
        for image in report.images:
            key = picture(image)
            if key in owners:
                drops.add(row, image, "duplicate id", f"image {image} is of report {owners[key]} already")
            elif key not in files:
                drops.add(row, image, "missing image", f"no file of image {image}")
            else:
                found.append(Case(row, files[key], _xray(image, report, section, truth)))
            owners.setdefault(key, report.report_id)
    for key in files.keys() - owners.keys():
        drops.add(_row_of(key), files[key], "missing report", f"no report names {files[key]}")
    return found


def read_projections(path: Path) -> dict[str, str]:
    """Picture -> "frontal" or "lateral" of indiana_projections.csv.

    Raises:
      InputError: as `read_columns`, another projection, or a picture that has both.
    """
    found: dict[str, str] = {}
    for row, (name, projection) in read_columns(path, ("filename", "projection")):
        if projection.lower() not in PROJECTIONS:
            raise InputError(f"{path}: row {row}: projection {projection!r} is none of {', '.join(PROJECTIONS)}")
        if found.setdefault(picture(name), projection.lower()) != projection.lower():
            raise InputError(f"{path}: row {row}: {name} is {projection}, and something else in a row before")
    return found


def mesh_labels(codes: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Human codes -> pathology indices (present, judged), see `judged_classes`.

    >>> [len(indices) for indices in mesh_labels(["Cardiomegaly/borderline"])]  # `borderline`; not judged: cardiomegaly
    [1, 36]
    """
    present, judged = (tuple(sorted(map(pathology_index, names))) for names in judged_classes(codes).values())
    return present, judged


def section_text(report: OpeniReport, section: Section) -> str:
    """Findings and impression with their headers, or the text of one of them; "" if there is none."""
    return report.text if section == "both" else report.sections.get(section.upper(), "")


def _xray(image: str, report: OpeniReport, section: Section, truth: str) -> XRay:
    present, annotated = mesh_labels(report.codes) if truth == "mesh" else ((), ())
    text = section_text(report, section)
    return XRay(image, report.report_id, text, present=present, annotated=annotated, has_labels=truth == "mesh")


def _row_of(name: str) -> int:
    match = _PICTURE.fullmatch(picture(name))
    return int(match[2]) if match else 0
