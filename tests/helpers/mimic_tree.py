"""A small directory in the layout of MIMIC-CXR-JPG, RadGraph and mimic-cxr-reports, with invented ids and text, and
with what goes wrong in downloads."""

import csv
import gzip
import hashlib
import io
import json
from pathlib import Path

import numpy as np

from data_pipelines import images

# name, patient, study, split, ViewPosition (None: no row in the metadata)
IMAGES = (
    ("two_a", "19000001", "59000001", "train", "PA"),
    ("two_b", "19000001", "59000001", "train", "AP"),
    ("side", "19000001", "59000001", "train", "LATERAL"),
    ("gone", "19000002", "59000002", "train", "AP"),
    ("cut", "19000002", "59000003", "train", "PA"),
    ("valid", "19000003", "59000004", "validate", "PA"),
    ("valid", "19000003", "59000004", "validate", "PA"),
    ("test", "19000004", "59000005", "test", "AP"),
    ("bare", "19000005", "59000006", "train", "PA"),
    ("leak", "19000001", "59000007", "test", "PA"),
    ("blank", "19000006", "59000008", "train", ""),
    ("unlisted", "19000006", "59000008", "train", None),
    ("oblique", "19000006", "59000008", "train", "LAO"),
    ("mute", "19000007", "59000009", "train", "PA"),
)
REPORTS = {
    "59000001": (
        "FINDINGS: \n \n Small left pleural effusion. Possible pneumonia.\n \n IMPRESSION: \n \n No pneumothorax."
    ),
    "59000002": "IMPRESSION: \n \n Cardiomegaly.",
    "59000003": "IMPRESSION: \n \n Cardiomegaly.",
    "59000004": "IMPRESSION: \n \n No pleural effusion.",
    "59000005": "FINDINGS: \n \n Right pneumothorax.\n \n IMPRESSION: \n \n nan",
    "59000006": "",
    "59000007": "IMPRESSION: \n \n Clear.",
    "59000008": "IMPRESSION: \n \n Clear.",
}  # 59000009 has no file
COLUMNS = (
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
)


def dicom_id(name: str) -> str:
    """Five groups of eight hexadecimal digits, as the official ids."""
    digits = hashlib.sha256(name.encode()).hexdigest()
    return "-".join(digits[start : start + 8] for start in range(0, 40, 8))


def file_of(name: str) -> str:
    _, patient, study, *_ = next(entry for entry in IMAGES if entry[0] == name)
    return f"files/p{patient[:2]}/p{patient}/s{study}/{dicom_id(name)}.jpg"


def entity(tokens: str, label: str, at: int, *relations: list[str]) -> dict:
    return {"tokens": tokens, "label": label, "start_ix": at, "end_ix": at, "relations": list(relations)}


def radgraph() -> dict:
    """In the official form; of study 59000006 there is an entry without entities, of 59000008 none."""
    first = {
        "1": entity("effusion", "OBS-DP", 2, ["located_at", "3"]),
        "2": entity("left", "ANAT-DP", 0, ["modify", "3"]),
        "3": entity("pleural", "ANAT-DP", 1),
        "4": entity("pneumothorax", "OBS-DA", 5),
        "5": entity("pneumonia", "OBS-U", 8),
    }
    heart = {"1": entity("cardiomegaly", "OBS-DP", 0)}
    texts = {"1": ("left pleural effusion . No pneumothorax . Possible pneumonia .", first), "6": ("", {})}
    texts |= dict.fromkeys("23457", ("Cardiomegaly .", heart)) | {"9": ("Clear .", {"1": entity("Clear", "OBS-DP", 0)})}
    patients = {study: patient for _, patient, study, *_ in IMAGES}
    return {
        f"p19/p{patients[f'5900000{n}']}/s5900000{n}.txt": {
            "text": text,
            "entities": entities,
            "data_source": None,
            "data_split": "inference",
        }
        for n, (text, entities) in texts.items()
    }


def write_gz(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def make_tree(root: Path) -> Path:
    ids = [[dicom_id(name), study, patient, split] for name, patient, study, split, _ in IMAGES]
    write_gz(root / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], ids)
    views = {(dicom_id(name), patient, study): view for name, patient, study, _, view in IMAGES if view is not None}
    rest = ["80", "100", "21800101", "101010.5", "CHEST (PA AND LAT)", "", "Erect"]
    rows = [[*key, "CHEST (PA AND LAT)", view, *rest] for key, view in views.items()]
    write_gz(root / "mimic-cxr-2.0.0-metadata.csv.gz", ["dicom_id", "subject_id", "study_id", *COLUMNS], rows)
    for number, (name, *_) in enumerate(IMAGES):
        path = root / file_of(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.tile(np.arange(100, dtype=np.uint8) * 2 + number, (80, 1))
        data = images.encode_grey(ramp, kind="jpeg")
        path.write_bytes(data[: len(data) // 2] if name == "cut" else data)
    (root / file_of("gone")).unlink()
    (root / "MIMIC-CXR_graphs.json").write_text(json.dumps(radgraph()))
    for _, patient, study, *_ in IMAGES:
        if study in REPORTS:
            path = root / "mimic-cxr-reports" / "files" / "p19" / f"p{patient}" / f"s{study}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            head = "                                 FINAL REPORT\n INDICATION:  ___F with effusion?\n \n "
            path.write_text(f"{head}{REPORTS[study]}\n")
    return root
