import dataclasses
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from folder_csv import entries, named
from openi_tree import CUT, GONE, STRAY, make_dicoms, make_tree, ramp, write_dicom, xml
from places import SHARED

from data_pipelines import images
from data_pipelines.datasets import open_split
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.openi import Openi, OpeniOptions
from data_pipelines.datasets.openi_lists import mesh_labels, picture
from data_pipelines.images import reading
from data_pipelines.images.dicom_tags import view_position
from data_pipelines.reports.openi_xml import read_reports
from data_pipelines.reports.policy import TextPolicy
from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index

ALL_IN_TRAIN = {"train": 1.0}
OPTIONS = OpeniOptions(size=64, partial=True, projections="indiana_projections.csv", split_fractions=ALL_IN_TRAIN)
IU_XRAY = SHARED / "iu_xray" / "NLMCXR_reports.tgz"


def options(*, text: dict | None = None, **changes) -> OpeniOptions:
    return dataclasses.replace(OPTIONS, text=TextPolicy(**text or {}), **changes)


def jobs(root: Path, opts: OpeniOptions = OPTIONS) -> dict:
    """image id -> job of a plan."""
    plan = Openi.plan(root=root, options=opts)
    return {job.payload.image_id: job for found in plan.jobs.values() for job in found}


def kinds(drops) -> set[tuple]:
    return {(drop.row, drop.file, drop.kind) for drop in drops}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_tree(tmp_path_factory.mktemp("openi"))


@pytest.fixture
def own(tmp_path) -> Path:
    """A tree to spoil."""
    return make_tree(tmp_path)


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return {"out": out, "report": build("openi", out=out, root=root, options=OPTIONS, workers=1)}


def test_every_image_and_report_is_a_record_or_a_drop(built):
    report = built["report"]
    assert report["splits"] == {"train": 2}
    assert {(drop["row"], drop["file"], drop["kind"]) for drop in report["drops"]} == {
        (1, "NLMCXR_png/CXR1_1_IM-0001-3001.png", "lateral view"),
        (3, "NLMCXR_png/CXR3_IM-1384-1001.png", "empty text"),
        (4, "4.xml", "report without an image"),
        (5, "NLMCXR_png/CXR5_IM-2117-1003002.png", "unknown view"),
        (5, "CXR2_IM-0652-1001", "duplicate id"),
        (6, f"NLMCXR_png/{CUT}.png", "unreadable image"),
        (6, GONE, "missing image"),
        (9, f"NLMCXR_png/{STRAY}.png", "missing report"),
    }
    reasons = {drop["kind"]: drop["reason"] for drop in report["drops"]}
    assert reasons["duplicate id"] == "image CXR2_IM-0652-1001 is of report CXR2 already"
    assert reasons["unknown view"] == "CXR5_IM-2117-1003002 is not in indiana_projections.csv"


def test_matrix_is_of_the_text_and_labels_of_the_codes(built):
    first, second = (open_split(built["out"], "openi", "train")[index] for index in range(2))
    assert (first["image_id"], first["patient_id"]) == ("CXR1_1_IM-0001-4001", "CXR1")
    assert first["report"] == "FINDINGS: Left pleural effusion.\n\nIMPRESSION: No pneumothorax."
    assert entries(first["matrix"])[("left_pleural", "effusion")] == 1
    assert set(entries(first["matrix"]).values()) == {0, 1} and len(entries(first["matrix"])) <= 3
    truth = named(first["labels"])
    assert truth["effusion"] == 1 and truth["pneumonia"] == 0 and sum(truth.values()) == 1
    assert entries(second["matrix"]) == {("heart_size", "cardiomegaly"): 1}
    truth = named(second["labels"])
    assert truth["borderline"] == 1 and "cardiomegaly" not in truth  # left open by a borderline code
    stored = images.decode_grey(first["image"], name="first")
    np.testing.assert_allclose(stored, reading.resize_short_side(ramp(1), 64), atol=3)


def test_metadata_say_how_it_was_made(built):
    metadata = json.loads((Path(built["report"]["directory"]) / "metadata.json").read_text())
    assert metadata["text"] == {"section": "both", "empty_text": "drop", "uncertain": "ignore", "lateral": "drop"}
    assert (metadata["truth"], metadata["source"]) == ("mesh", "png")
    assert metadata["split_fractions"] == ALL_IN_TRAIN


def test_bytes_do_not_depend_on_workers(built, root, tmp_path):
    report = build("openi", out=tmp_path, root=root, options=OPTIONS, workers=2)
    one, two = (Path(directory) for directory in (built["report"]["directory"], report["directory"]))
    files = sorted(path.name for path in one.iterdir())
    assert files == sorted(path.name for path in two.iterdir())
    for name in files:
        if name != "dataset_info.json":
            assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_truth_of_the_report(root):
    plan = Openi.plan(root=root, options=options(truth="report"))
    made = plan.encode(plan.jobs["train"][0])
    labels = np.frombuffer(made.record["labels"], np.int8)
    assert named(labels) == {"effusion": 1, "pneumothorax": 0} and made.labels == ("effusion",)


@pytest.mark.parametrize(
    ("section", "found", "text"),
    [
        ("findings", {"CXR1_1_IM-0001-4001", "CXR2_IM-0652-1001", CUT}, "Left pleural effusion."),
        ("impression", {"CXR1_1_IM-0001-4001"}, "No pneumothorax."),
    ],
)
def test_section(root, section, found, text):
    kept = jobs(root, options(text={"section": section}))
    assert set(kept) == found
    assert kept["CXR1_1_IM-0001-4001"].payload.report == text


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("present", 1), ("absent", 0)])
def test_uncertain_findings(root, uncertain, value):
    plan = Openi.plan(root=root, options=options(text={"uncertain": uncertain}, truth="report"))
    labels = np.frombuffer(plan.encode(plan.jobs["train"][1]).record["labels"], np.int8)
    assert named(labels).get("pneumonia") == value


def test_empty_text_can_stay(root):
    plan = Openi.plan(root=root, options=options(text={"empty_text": "keep"}))
    (job,) = [job for job in plan.jobs["train"] if job.row == 3]
    record = plan.encode(job).record
    assert record["report"] == "" and set(record["labels"]) == {255}  # -1 throughout: "No Indexing" is no code


def test_lateral_images_can_stay(root):
    plan = Openi.plan(root=root, options=options(text={"lateral": "keep"}))
    assert sum(len(found) for found in plan.jobs.values()) == 5 and not plan.notes


def test_without_projections_all_views_stay_and_are_noted(root):
    plan = Openi.plan(root=root, options=options(projections=""))
    assert {drop.kind for drop in plan.drops}.isdisjoint({"lateral view", "unknown view"})
    assert list(plan.notes) == [
        "all 5 images are kept, though about half are lateral, as nothing says which; "
        "name indiana_projections.csv with option projections"
    ]


def test_dicom_files_and_their_views(tmp_path):
    root = make_dicoms(make_tree(tmp_path))
    plan = Openi.plan(root=root, options=options(source="dicom", projections=""))
    assert [job.file for job in plan.jobs["train"]] == [
        "NLMCXR_dcm/1/1_IM-0001-4001.dcm",
        "NLMCXR_dcm/2/2_IM-0652-1001.dcm",
    ]
    assert (1, "NLMCXR_dcm/1/1_IM-0001-3001.dcm", "lateral view") in kinds(plan.drops)
    assert (2, "NLMCXR_dcm/2 copy/2_IM-0652-1001.dcm", "duplicate id") in kinds(plan.drops)
    assert "1 of 3 do not state (kept)" in plan.notes[0]
    made = plan.encode(plan.jobs["train"][0])
    stored = images.decode_grey(made.record["image"], name="made")
    np.testing.assert_allclose(stored, reading.resize_short_side(ramp(1), 64), atol=3)
    projected = Openi.plan(root=root, options=options(source="dicom"))
    assert [job.row for job in projected.jobs["train"]] == [1, 2]


@pytest.mark.parametrize(("view", "want"), [("AP", "AP"), ("", ""), (None, "")])
def test_view_position(tmp_path, view, want):
    write_dicom(tmp_path / "a.dcm", ramp(0), view=view)
    assert view_position(tmp_path / "a.dcm") == want
    (tmp_path / "b.dcm").write_bytes(b"no DICOM")
    assert view_position(tmp_path / "b.dcm") == ""


def test_unpacked_reports_will_do(own):
    (own / "NLMCXR_reports.tgz").unlink()
    (own / "ecgen-radiology").mkdir()
    for number in (1, 2):
        (own / "ecgen-radiology" / f"{number}.xml").write_bytes(xml(number))
    unpacked = options(reports="unpacked")
    assert set(jobs(own, unpacked)) == {"CXR1_1_IM-0001-4001", "CXR2_IM-0652-1001"}
    (own / "ecgen-radiology" / "3.xml").write_bytes(xml(2))
    assert (2, "2.xml", "duplicate id") in kinds(Openi.plan(root=own, options=unpacked).drops)
    (own / "ecgen-radiology" / "4.xml").write_bytes(xml(4)[:-9])
    with pytest.raises(InputError, match=r"4.xml: not well-formed XML"):
        Openi.plan(root=own, options=unpacked)


def test_splits_are_by_report(root):
    plan = Openi.plan(root=root, options=options(text={"lateral": "keep"}, split_fractions={"train": 0.5, "test": 0.5}))
    splits = {}
    for split, found in plan.jobs.items():
        for job in found:
            assert splits.setdefault(job.payload.patient, split) == split


def test_policy_fail_names_the_first_row(root):
    with pytest.raises(InputError, match=r"reports.tgz: row 5: image CXR2_IM-0652-1001 is of report CXR2 already"):
        Openi.plan(root=root, options=OPTIONS, policy="fail")


def test_incomplete_downloads_are_named(own):
    with pytest.raises(InputError, match=r"NLMCXR_png/.*png: 7 files, the official release has 7470"):
        Openi.plan(root=own, options=dataclasses.replace(OPTIONS, partial=False))
    with pytest.raises(InputError, match=r"NLMCXR_dcm/.*dcm: not there \(the images, of NLMCXR_dcm.tgz"):
        Openi.plan(root=own, options=options(source="dicom"))
    with pytest.raises(InputError, match=r"ecgen-radiology/\*.xml: not there"):
        Openi.plan(root=own, options=options(reports="unpacked"))
    (own / "NLMCXR_reports.tgz").unlink()
    with pytest.raises(InputError, match=r"NLMCXR_reports.tgz: not there .*see medslip data check openi --root"):
        Openi.plan(root=own, options=OPTIONS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1_IM-0001-4001.dcm.png,Oblique", "row 7: projection 'Oblique' is none of frontal, lateral"),
        ("1,1_IM-0001-4001.dcm.png,Lateral", "row 7: 1_IM-0001-4001.dcm.png is Lateral, and something else in a row"),
        ("1,1_IM-0001-4001.dcm.png", "row 7: 2 cells, the header has 3"),
    ],
)
def test_wrong_projections_name_file_and_row(own, line, message):
    path = own / "indiana_projections.csv"
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(InputError, match=f"{path}: {message}"):
        Openi.plan(root=own, options=OPTIONS)


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("CXR1_1_IM-0001-3001.png", "1_IM-0001-3001"),
        ("1_IM-0001-3001.dcm", "1_IM-0001-3001"),
        ("CXR12_IM-0001-3001-0001", "12_IM-0001-3001-0001"),
        ("12_IM-0001-3001-0001.dcm.png", "12_IM-0001-3001-0001"),
        ("other.png", "other"),
    ],
)
def test_names_of_one_picture(name, want):
    assert picture(name) == want


@pytest.mark.parametrize(
    ("codes", "present", "judged"),
    [
        (("normal",), set(), 37),
        (("No Indexing",), set(), 0),
        ((), set(), 0),
        (("Cardiomegaly/mild",), {"cardiomegaly"}, 37),
    ],
)
def test_mesh_labels(codes, present, judged):
    found, stated = mesh_labels(codes)
    assert {PATHOLOGIES[index] for index in found} == present and len(stated) == judged
    assert judged == 0 or pathology_index("tip") not in stated


def test_command_line(root, tmp_path, capsys):
    assert main.main(["data", "check", "openi", "--root", str(root)]) == 1
    shown = capsys.readouterr().out
    assert "ok       NLMCXR_reports.tgz" in shown and "7 of 7470" in shown
    (tmp_path / "dicom.json").write_text('{"source": "dicom"}')
    assert main.main(["data", "check", "openi", f"--root={root}", f"--options={tmp_path / 'dicom.json'}"]) == 1
    assert "missing  NLMCXR_dcm" in capsys.readouterr().out
    (tmp_path / "options.json").write_text(
        json.dumps(
            {"projections": "indiana_projections.csv", "split_fractions": ALL_IN_TRAIN, "text": {"section": "findings"}}
        )
    )
    flags = [f"--root={root}", f"--out={tmp_path}", f"--options={tmp_path / 'options.json'}", "--workers=1"]
    assert main.main(["data", "build", "openi", *flags, "--size=48", "--partial"]) == 0
    shown = capsys.readouterr().out
    assert "train 2" in shown and "1 missing image" in shown and "1 lateral view" in shown
    metadata = json.loads((tmp_path / "openi" / "1.0.0" / "metadata.json").read_text())
    assert metadata["text"]["section"] == "findings" and metadata["size"] == 48


@pytest.mark.parametrize("changes", [{"source": "jpg"}, {"truth": "codes"}, {"projections": 1}, {"patients": "a.csv"}])
def test_options_are_checked(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        OpeniOptions(**changes)


@pytest.mark.real
@pytest.mark.skipif(not IU_XRAY.exists(), reason="the real reports of ../shared are not here")
def test_plan_of_the_real_reports(tmp_path):
    shutil.copy(IU_XRAY, tmp_path / "NLMCXR_reports.tgz")
    (tmp_path / "NLMCXR_png").mkdir()
    present = ("CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001", "CXR10_IM-0002-1001")
    for number, name in enumerate(present):
        (tmp_path / "NLMCXR_png" / f"{name}.png").write_bytes(images.encode_grey(ramp(number), kind="png"))
    plan = Openi.plan(root=tmp_path, options=options(projections=""))
    assert [job.payload.image_id for job in plan.jobs["train"]] == list(present)
    found = [drop.kind for drop in plan.drops]
    bare = [report for report in read_reports(IU_XRAY) if not report.images]
    assert found.count("missing image") == 7470 - 3 and found.count("report without an image") == len(bare) > 0
    assert len({drop.row for drop in plan.drops} | {1, 10}) == 3955 and len(found) == 7470 - 3 + len(bare)
    assert all(plan.encode(job).record for job in plan.jobs["train"])


def test_what_macos_leaves_beside_reports_is_none(tmp_path):
    folder = tmp_path / "ecgen-radiology"
    folder.mkdir()
    (folder / "1.xml").write_bytes(xml(1))
    (folder / "._1.xml").write_bytes(b"\0\5\x16\7")
    with tarfile.open(tmp_path / "reports.tgz", "w:gz") as archive:
        archive.add(folder, "ecgen-radiology")
        archive.add(folder / "._1.xml", "__MACOSX/ecgen-radiology/1.xml")
    for where in (folder, tmp_path / "reports.tgz"):
        assert [report.report_id for report in read_reports(where)] == ["CXR1"]
