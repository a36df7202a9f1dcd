import dataclasses
import gzip
import json
from pathlib import Path

import pytest
from folder_csv import entries
from mimic_tree import IMAGES, dicom_id, file_of, make_tree, radgraph

from data_pipelines import images, records
from data_pipelines.datasets import open_split
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.mimic_cxr import MimicCxr, MimicOptions
from data_pipelines.datasets.mimic_cxr_lists import study_matrices
from data_pipelines.datasets.shared.xray import compressed
from data_pipelines.radgraph.stream import iter_label_matrices
from data_pipelines.reports.policy import TextPolicy
from medslip_jax.cli import main
from medslip_jax.errors import InputError

OPTIONS = MimicOptions(size=64, partial=True)
EFFUSION = {("left_pleural", "effusion"): 1, ("unspecified", "pneumothorax"): 0}
NAMES = {dicom_id(name): name for name, *_ in IMAGES}


def options(*, labels: str = "radgraph", **text) -> MimicOptions:
    return dataclasses.replace(OPTIONS, labels=labels, text=TextPolicy(**text))


def kept(root: Path, opts: MimicOptions) -> dict[str, dict]:
    """name -> record of every image that a build would keep, without building."""
    plan = MimicCxr.plan(root=root, options=opts)
    made = {job.file: plan.encode(job) for jobs in plan.jobs.values() for job in jobs}
    found = {}
    for file, result in made.items():
        if result.record:
            columns = {key: [] for key in records.ANNOTATION_KEYS}
            found[NAMES[Path(file).stem]] = records.decode(result.record | {"annotations": columns})
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("mimic"))


@pytest.fixture
def own(tmp_path) -> Path:
    """A tree to spoil."""
    return make_tree(tmp_path)


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return {"out": out, "report": build("mimic_cxr", out=out, root=root, options=OPTIONS, workers=1)}


def test_every_row_is_a_record_or_a_drop_with_its_reason(built, root):
    report = built["report"]
    assert report["splits"] == {"train": 3, "validation": 1, "test": 1}
    assert {(drop["row"], drop["file"]): drop["kind"] for drop in report["drops"]} == {
        (4, file_of("side")): "lateral view",
        (5, file_of("gone")): "missing image",
        (6, file_of("cut")): "unreadable image",
        (8, file_of("valid")): "duplicate id",
        (10, file_of("bare")): "no RadGraph entry",
        (11, file_of("leak")): "patient in two splits",
        (12, file_of("blank")): "unknown view",
        (13, file_of("unlisted")): "unknown view",
        (14, file_of("oblique")): "other view",
    }
    reasons = {drop["row"]: drop["reason"] for drop in report["drops"]}
    assert reasons[8] == f"dicom_id {dicom_id('valid')} is in row 7 already"
    assert reasons[11] == "patient 19000001 is in train (row 2)"
    assert reasons[12] == "no ViewPosition in the metadata" and reasons[13] == "not in the metadata"
    assert str(root / file_of("gone")) in reasons[5]
    lines = (Path(report["directory"]) / "manifest.csv").read_text().splitlines()
    assert len(lines) == 1 + len(IMAGES)


def test_two_frontal_images_of_a_study_are_two_records(built):
    train = open_split(built["out"], "mimic_cxr", "train")
    first, second, third = (train[index] for index in range(3))
    assert [record["image_id"] for record in (first, second, third)] == [
        dicom_id(n) for n in ("two_a", "two_b", "mute")
    ]
    assert first["patient_id"] == second["patient_id"] == "19000001"
    assert entries(first["matrix"]) == entries(second["matrix"]) == EFFUSION
    assert first["image"] != second["image"]
    assert "Small left pleural effusion" in first["report"] and first["report"] == second["report"]
    assert third["report"] == ""
    assert built["report"]["notes"][-1].endswith("s59000009.txt: No such file or directory")
    assert images.decode_grey(first["image"], name="first").shape == (64, 80)


def test_metadata_say_how_it_was_made(built):
    metadata = json.loads((Path(built["report"]["directory"]) / "metadata.json").read_text())
    assert metadata["labels"] == "radgraph" and metadata["report_text"] == "stored"
    assert metadata["text"] == {"section": "both", "empty_text": "drop", "uncertain": "ignore", "lateral": "drop"}
    assert metadata["image"]["polarity"] == "tagged"


def test_bytes_do_not_depend_on_workers(built, root, tmp_path):
    report = build("mimic_cxr", out=tmp_path, root=root, options=OPTIONS, workers=2)
    one, two = (Path(directory) for directory in (built["report"]["directory"], report["directory"]))
    files = sorted(path.name for path in one.iterdir())
    assert files == sorted(path.name for path in two.iterdir())
    for name in files:
        if name != "dataset_info.json":
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_radgraph_matrices_are_those_of_the_stream(own):
    path = own / "MIMIC-CXR_graphs.json"
    expected = {study: compressed(matrix) for study, matrix in iter_label_matrices(path)}
    assert study_matrices(path, uncertain="ignore") == expected
    packed = own / "graphs.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert study_matrices(packed, uncertain="ignore") == expected


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("present", 1), ("absent", 0)])
@pytest.mark.parametrize("labels", ["radgraph", "reports"])
def test_uncertain_findings(root, labels, uncertain, value):
    found = entries(kept(root, options(labels=labels, uncertain=uncertain))["two_a"]["matrix"])
    assert {name: v for (_, name), v in found.items()}.get("pneumonia") == value


def test_uncertain_in_the_long_spelling_of_radgraph(own):
    graphs = radgraph()
    for study in graphs.values():
        for found in study["entities"].values():
            found["label"] = {"OBS-U": "Observation::uncertain"}.get(found["label"], found["label"])
    (own / "MIMIC-CXR_graphs.json").write_text(json.dumps(graphs))
    assert entries(kept(own, options(uncertain="present"))["two_a"]["matrix"])[("unspecified", "pneumonia")] == 1


def test_lateral_images_can_stay(root):
    names = set(kept(root, options(lateral="keep")))
    assert names == {"two_a", "two_b", "side", "valid", "test", "mute"}


def test_study_without_radgraph_entry_can_stay(root):
    record = kept(root, options(empty_text="keep"))["bare"]
    assert entries(record["matrix"]) == {}  # not what its report says: the labels are RadGraph's


def test_labels_from_reports(root):
    found = kept(root, options(labels="reports"))
    assert set(found) == {"two_a", "two_b", "valid", "test"}
    assert entries(found["two_a"]["matrix"]) == EFFUSION
    assert ("unspecified", "effusion") not in entries(found["two_a"]["matrix"])  # of the indication
    assert set(entries(found["valid"]["matrix"]).values()) == {0}


def test_reports_that_are_missing_or_empty_are_drops(root):
    plan = MimicCxr.plan(root=root, options=options(labels="reports"))
    kinds = {NAMES[Path(job.file).stem]: plan.encode(job).kind for jobs in plan.jobs.values() for job in jobs}
    assert kinds["mute"] == "missing report" and kinds["bare"] == "empty text" and kinds["two_a"] == ""
    assert "bare" in set(kept(root, options(labels="reports", empty_text="keep")))


@pytest.mark.parametrize(
    ("section", "names", "matrix"),
    [
        ("findings", {"two_a", "two_b", "test"}, {("left_pleural", "effusion"): 1}),
        ("impression", {"two_a", "two_b", "valid", "test"}, {("unspecified", "pneumothorax"): 0}),
    ],
)
def test_section_of_the_reports(root, section, names, matrix):
    found = kept(root, options(labels="reports", section=section))
    assert set(found) == names
    assert entries(found["two_a"]["matrix"]) == matrix
    assert "FINDINGS" not in found["two_a"]["report"] and "INDICATION" not in found["two_a"]["report"]


def test_radgraph_refuses_a_section():
    with pytest.raises(InputError, match=r"text.section='findings': RadGraph's entities are of the whole report"):
        MimicOptions(text={"section": "findings"})


def test_command_line(root, tmp_path, capsys):
    assert main.main(["data", "check", "mimic_cxr", "--root", str(root)]) == 1
    shown = capsys.readouterr().out
    assert "ok       mimic-cxr-2.0.0-split.csv.gz" in shown and "12 of 377110" in shown
    assert "ok       MIMIC-CXR_graphs.json" in shown and "8 of 227835" in shown
    (tmp_path / "options.json").write_text('{"labels": "reports", "text": {"uncertain": "present"}}')
    flags = [f"--root={root}", f"--out={tmp_path}", f"--options={tmp_path / 'options.json'}", "--workers=1"]
    assert main.main(["data", "build", "mimic_cxr", *flags, "--size=48"]) == 2
    assert "complete it or build with --partial" in capsys.readouterr().err
    assert main.main(["data", "build", "mimic_cxr", *flags, "--size=48", "--partial"]) == 0
    shown = capsys.readouterr().out
    assert "train 2, validation 1, test 1" in shown and "1 missing report" in shown and "1 empty text" in shown
    metadata = json.loads((tmp_path / "mimic_cxr" / "1.0.0" / "metadata.json").read_text())
    assert metadata["text"]["uncertain"] == "present" and metadata["size"] == 48


def test_without_report_files_records_have_no_text(own):
    (own / "mimic-cxr-reports").rename(own / "elsewhere")
    plan = MimicCxr.plan(root=own, options=OPTIONS)
    assert plan.notes == (f"{own / 'mimic-cxr-reports'}: not there, so that records have no report text",)
    assert plan.metadata["report_text"] == "none"
    assert kept(own, OPTIONS)["two_a"]["report"] == ""
    moved = dataclasses.replace(OPTIONS, labels="reports", reports="elsewhere")
    assert "effusion" in kept(own, moved)["two_a"]["report"]
    with pytest.raises(InputError, match=r"mimic-cxr-reports/files/p\*/p\*/s\*.txt: not there \(mimic-cxr-reports.zip"):
        MimicCxr.plan(root=own, options=options(labels="reports"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",validate", ",dev", r"split.csv.gz: row 7: split 'dev' is none of train, validate, test"),
        ("59000004", "../59000004", r"split.csv.gz: row 7: study_id is '../59000004', which cannot be one"),
        (
            "study_id",
            "study",
            r"split.csv.gz: no column 'study_id'; the header has: dicom_id, study, subject_id, split",
        ),
        (",59000004,19000003", ",59000004", r"split.csv.gz: row 7: 3 cells, the header has 4"),
    ],
)
def test_wrong_list_names_file_and_row(own, old, new, message):
    path = own / "mimic-cxr-2.0.0-split.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).decode().replace(old, new).encode()))
    with pytest.raises(InputError, match=message):
        MimicCxr.plan(root=own, options=OPTIONS)


def test_incomplete_downloads_are_named(own):
    with pytest.raises(InputError, match=r"s\*/\*.jpg: 12 files, the official release has 377110; complete it"):
        MimicCxr.plan(root=own, options=dataclasses.replace(OPTIONS, partial=False))
    path = own / "mimic-cxr-2.0.0-metadata.csv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"metadata.csv.gz: damaged or cut short"):
        MimicCxr.plan(root=own, options=OPTIONS)
    path.unlink()
    with pytest.raises(InputError, match=r"metadata.csv.gz: not there .*see medslip data check mimic_cxr --root"):
        MimicCxr.plan(root=own, options=OPTIONS)


def test_radgraph_file_must_be_there_and_whole(own):
    path = own / "MIMIC-CXR_graphs.json"
    graphs = radgraph()
    path.write_text(json.dumps(graphs | {"p11/p1/s59000001.txt": graphs["p19/p19000001/s59000001.txt"]}))
    with pytest.raises(InputError, match=r"graphs.json: RadGraph study .* study id 59000001 occurs twice"):
        MimicCxr.plan(root=own, options=OPTIONS)
    path.unlink()
    with pytest.raises(InputError, match=r"graphs.json: not there \(RadGraph 1.0.0"):
        MimicCxr.plan(root=own, options=OPTIONS)
    elsewhere = dataclasses.replace(OPTIONS, radgraph="/nowhere/graphs.json")
    with pytest.raises(InputError, match=r"^/nowhere/graphs.json: not there; download RadGraph, name its file"):
        MimicCxr.plan(root=own, options=elsewhere)
    path.with_name("own.json").write_text(json.dumps(graphs))
    assert "two_a" in kept(own, dataclasses.replace(OPTIONS, radgraph=str(own / "own.json")))


def test_a_study_that_radgraph_spoilt_is_dropped_with_its_reason(own):
    path = own / "MIMIC-CXR_graphs.json"
    graphs = radgraph()
    graphs["p19/p19000001/s59000001.txt"]["text"] = None
    key = next(key for key in graphs if key.endswith("s59000009.txt"))
    graphs[key]["entities"]["x"] = {"tokens": "new", "label": "NEW", "start_ix": 0, "relations": []}
    path.write_text(json.dumps(graphs))
    plan = MimicCxr.plan(root=own, options=OPTIONS)
    reasons = {drop.reason for drop in plan.drops if drop.kind == "unusable RadGraph entry"}
    said = "RadGraph study 'p19/p19000001/s59000001.txt': field 'text' must be a string of tokens separated by spaces"
    assert reasons == {said}
    counted = f"{path.name}: RadGraph: 1 of {len(graphs)} studies left out: {said}"
    assert plan.notes == (counted, f"{path.name}: RadGraph: entities of unknown labels left out: 'NEW' (1)")


def test_reports_outside_of_the_root(own, tmp_path_factory):
    place = tmp_path_factory.mktemp("reports")
    opts = dataclasses.replace(OPTIONS, labels="reports", reports=str(place))
    with pytest.raises(
        InputError, match=f"{place}/files: no such directory; unpack mimic-cxr-reports.zip into {place}"
    ):
        MimicCxr.plan(root=own, options=opts)
    (own / "mimic-cxr-reports" / "files").rename(place / "files")
    assert "two_a" in kept(own, opts)


def test_policy_fail_names_the_first_row(root):
    with pytest.raises(InputError, match=r"split.csv.gz: row 8: dicom_id .* is in row 7 already; repair it or build"):
        MimicCxr.plan(root=root, options=OPTIONS, policy="fail")


@pytest.mark.parametrize("changes", [{"labels": "chexpert"}, {"radgraph": ""}, {"reports": 3}, {"size": 3}])
def test_options_are_checked(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        MimicOptions(**changes)
