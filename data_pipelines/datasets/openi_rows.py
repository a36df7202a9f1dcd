"""IU X-Ray's reports and image files -> cases and drops. No image is opened.

Rows are report numbers: row 1002 is ecgen-radiology/1002.xml, "CXR1002". The same picture has three names, of which
"1002_IM-0004-1001" is the common part:

    CXR1002_IM-0004-1001, CXR1_1_IM-0001-3001   in the reports, and of the PNG files
    1002_IM-0004-1001.dcm                       of the DICOM files, in a folder 1002
    1002_IM-0004-1001.dcm.png                   in indiana_projections.csv
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from data_pipelines import records, report_mesh
from data_pipelines.datasets.cases import Case, Drops
from data_pipelines.datasets.csv_rows import read_columns
from data_pipelines.datasets.xray import XRay
from data_pipelines.openi_xml import OpeniReport
from data_pipelines.text_policy import Section
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
    for path in sorted(root.glob(pattern)):
        file = path.relative_to(root).as_posix()
        first = found.setdefault(picture(path.name), file)
        if first != file:
            drops.add(_row(picture(path.name)), file, "duplicate id", f"the same picture as {first}")
    return found


def cases(
    reports: Iterable[OpeniReport], files: Mapping[str, str], drops: Drops, *, section: Section, truth: str
) -> Iterator[Case]:
    """The pictures that have a report and a file, in the order of the reports.

    Left out are, by kind: "duplicate id", "report without an image", "missing image", "missing report".

    Args:
      reports: all of them.
      files: from `image_files`.
      drops: where the rest goes.
      section: which text of a report.
      truth: "mesh" puts the human codes into `present` and `annotated`, "report" nothing.
    """
    seen: dict[str, str] = {}
    for report in sorted(reports, key=number):
        row, first = number(report), seen.setdefault(report.report_id, "")
        if first:
            drops.add(row, f"{row}.xml", "duplicate id", f"a report {report.report_id} came already")
            continue
        seen[report.report_id] = report.report_id
        if not report.images:
            drops.found.append(_drop(row, f"{row}.xml", "report without an image", "it names none"))
        known = _xray(report, section, truth)
        for image in report.images:
            key = picture(image)
            if seen.setdefault(key, report.report_id) is not report.report_id or key in ():
                drops.add(row, image, "duplicate id", f"{seen[key]} names this image too")
            elif key not in files:
                drops.add(row, image, "missing image", f"no file {image} of report {report.report_id}")
            else:
                yield Case(row, files[key], known(image))
