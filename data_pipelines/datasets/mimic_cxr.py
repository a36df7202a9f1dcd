"""TFDS builder of MIMIC-CXR-JPG, labelled by RadGraph's entities or by what the report files say.

Sources: Johnson et al., "MIMIC-CXR-JPG, a large publicly available database of labeled chest radiographs", 2019
(arXiv 1901.07042): 377,110 images of 227,827 studies; Johnson et al., "MIMIC-CXR", Scientific Data 6:317, 2019: 227,835
reports; Jain et al., "RadGraph", NeurIPS Datasets 2021: entities of 220,763 of them.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Literal

from data_pipelines.datasets.building.plan import Job, Made, Plan, Policy
from data_pipelines.datasets.mimic_cxr_lists import read_split, read_views, study_matrices
from data_pipelines.datasets.shared import official, xray
from data_pipelines.datasets.shared.official import Expected, OfficialOptions
from data_pipelines.radgraph import Skipped
from data_pipelines.reports import TextPolicy, read_sections, select_section
from medslip_jax.errors import InputError, check_choices

SPLIT_FILE = "mimic-cxr-2.0.0-split.csv.gz"
METADATA_FILE = "mimic-cxr-2.0.0-metadata.csv.gz"


@dataclasses.dataclass(frozen=True)
class MimicOptions(OfficialOptions):
    """Options of MIMIC-CXR.

    Of `text`: `section` and a report's emptiness are asked of report files only, so labels "radgraph" refuse a single
    section, RadGraph's entities being of the whole report; `empty_text` "keep" keeps a study without a RadGraph entry,
    with an empty matrix; `lateral` "drop" keeps what the metadata call PA or AP and nothing else.

    Attributes:
      labels: "radgraph" or "reports", where the matrix comes from.
      radgraph: RadGraph's MIMIC-CXR_graphs.json, plain or gzip, relative to the root or absolute.
      reports: the directory with the report texts, files/p10/p10000032/s50414267.txt and so on, relative to the root or
        absolute; "." where they lie beside the images. If it is there, the text is stored whatever `labels` is.
    """

    labels: Literal["radgraph", "reports"] = "radgraph"
    radgraph: str = "MIMIC-CXR_graphs.json"
    reports: str = "mimic-cxr-reports"

    def __post_init__(self):
        super().__post_init__()
        check_choices(self, section="options")
        for name in ("radgraph", "reports"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise InputError(f"options.{name}={getattr(self, name)!r}: expected a path")
        if self.labels == "radgraph" and self.text.section != "both":
            raise InputError(
                f"text.section={self.text.section!r}: RadGraph's entities are of the whole report; "
                "use it with labels 'reports', or section 'both'"
            )


class MimicCxr(official.OfficialBuilder):
    """Chest X-rays of MIMIC-CXR-JPG; an image is a record, so that a study of two frontal images has two."""

    name = "mimic_cxr"
    OPTIONS = MimicOptions
    EXPECTED = (
        Expected(SPLIT_FILE, 1, "the official split, MIMIC-CXR-JPG"),
        Expected(METADATA_FILE, 1, "the views, MIMIC-CXR-JPG"),
        Expected("files/p*/p*/s*/*.jpg", 377_110, "the images, MIMIC-CXR-JPG"),
    )

    @classmethod
    def expected(cls, options: MimicOptions) -> tuple[Expected, ...]:
        """What the tree has for these options; what they name outside of the root is not looked for."""
        radgraph = Expected(Path(options.radgraph).as_posix(), 1, "RadGraph 1.0.0, for labels 'radgraph'")
        pattern = Path(options.reports, "files/p*/p*/s*.txt").as_posix()
        needed = options.labels == "reports"
        reports = Expected(pattern, 227_835, "mimic-cxr-reports.zip, MIMIC-CXR", required=needed)
        extra = [reports] if needed else [radgraph, reports]
        return (*cls.EXPECTED, *(entry for entry in extra if not Path(entry.pattern).is_absolute()))

    @classmethod
    def planned(cls, root: Path, options: MimicOptions, policy: Policy) -> Plan:
        """Reads the lists and RadGraph's file; neither images nor reports, which are many.

        Policy "fail" also stops at a report that is missing, where labels are of the reports.
        """
        reports, skipped = _reports(root, options), Skipped()
        listed = read_split(
            root / SPLIT_FILE,
            views=read_views(root / METADATA_FILE) if options.text.lateral == "drop" else None,
            matrices=_matrices(root, options, skipped),
            without_matrix=options.text.empty_text,
            unusable=skipped.studies,
        )
        official.obey(
            policy, listing=root / SPLIT_FILE, drops=listed.drops, kinds=("duplicate id", "patient in two splits")
        )
        notes = [f"{options.radgraph}: {line}" for line in skipped.lines()]
        if not reports:
            notes.append(f"{root / options.reports}: not there, so that records have no report text")
        return Plan(
            jobs={split: jobs for split, jobs in listed.jobs.items() if jobs},
            encode=functools.partial(
                encode, root=root, reports=reports, storing=options.storing, text=options.text, labels=options.labels
            ),
            description=f"Chest X-rays of MIMIC-CXR-JPG with its official split; labels from {options.labels}.",
            metadata=dataclasses.asdict(options) | {"report_text": "stored" if reports else "none"},
            listing=root / SPLIT_FILE,
            drops=listed.drops,
            notes=tuple(notes),
            policy=policy,
            wanted_drops=frozenset({"empty text"}),
        )


def _reports(root: Path, options: MimicOptions) -> Path | None:
    directory = root / options.reports
    if (directory / "files").is_dir():
        return directory
    if options.labels == "reports":
        raise InputError(
            f"{directory / 'files'}: no such directory; unpack mimic-cxr-reports.zip into {directory}, "
            "or name its place with option reports"
        )
    return None


def _matrices(root: Path, options: MimicOptions, skipped: Skipped) -> dict[str, bytes] | None:
    if options.labels == "reports":
        return None
    path = root / options.radgraph
    if not path.is_file():
        raise InputError(f"{path}: not there; download RadGraph, name its file with option radgraph, or labels reports")
    return study_matrices(path, uncertain=options.text.uncertain, skipped=skipped)


def encode(job: Job, *, root: Path, reports: Path | None, storing: xray.Storing, text: TextPolicy, labels: str) -> Made:
    """`Plan.encode`: ids from the path of the image, the text from the study's report, the matrix from the payload or
    from the text."""
    file, report = Path(job.file), ""
    notes: tuple[str, ...] = ()
    if not (root / file).is_file():
        return Made(kind="missing image", reason=f"{root / file}: not there")
    if reports is not None:
        path = reports / file.parent.with_suffix(".txt")
        try:
            report = select_section(path.read_text(encoding="utf-8"), text.section)
        except (OSError, UnicodeDecodeError) as error:
            kind = "missing report" if isinstance(error, FileNotFoundError) else "unreadable report"
            reason = f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}"
            if labels == "reports":
                return Made(kind=kind, reason=reason)
            notes = (f"{kind}: {reason}",)
    if labels == "reports" and text.empty_text == "drop" and not read_sections(report):
        return Made(kind="empty text", reason=f"{path}: no text for section {text.section!r}")
    known = xray.XRay(image_id=file.stem, patient=file.parts[2][1:], report=report, matrix=job.payload)
    made = xray.make(dataclasses.replace(job, payload=known), root=root, storing=storing, text=text)
    return dataclasses.replace(made, notes=(*made.notes, *notes)) if notes and made.record else made
