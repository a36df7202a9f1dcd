"""Sex, age and view: what listings and DICOM headers write, and that the builders hand it on."""

import json
from pathlib import Path

import pytest
import test_nih_cxr14 as nih
import test_rsna as rsna
import test_siim_acr as siim
from challenge_files import picture, records, write_dicom
from folder_csv import HEADER, OPTIONS, write

from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.folder_options import FolderOptions
from data_pipelines.datasets.shared.attributes import attributes_of, odd_age, odd_ages, years_of
from data_pipelines.datasets.siim_acr import SiimAcrOptions


@pytest.mark.parametrize(
    ("written", "years"),
    [
        ("58", 58.0),
        ("058Y", 58.0),
        ("0", 0.0),
        ("120", 120.0),
        ("006M", 0.5),
        ("002W", 0.04),
        ("013D", 0.04),
        ("411", None),  # as in NIH ChestX-ray14
        ("148", None),
        ("121Y", None),
        ("-3", None),
        ("nan", None),
        ("about 50", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_ages(written, years):
    assert years_of(written) == years


def test_what_is_unknown_is_left_out():
    assert dict(attributes_of(sex="Female", age="51", view="pa ")) == {"sex": "F", "age": 51.0, "view": "PA"}
    assert attributes_of(sex="O", age="411", view="") == attributes_of() == ()
    assert odd_age("148") == "age '148' is none from 0 to 120 years and is left out"
    assert odd_age("058Y") == odd_age(" ") == ""
    assert odd_ages({"row 2": "", "row 3": "58"}) is None
    assert odd_ages({"row 2": "411", "row 3": "58"}) == (
        "1 ages are none from 0 to 120 years and are left out, such as '411' (row 2)"
    )


def test_nih(tmp_path):
    root = nih.tree(tmp_path)
    listing = root / "Data_Entry_2017.csv"
    text = listing.read_text()
    listing.write_text(text.replace("00000008_000.png,No Finding,0,8,58,M", "00000008_000.png,No Finding,0,8,411,F"))
    report = build("nih_cxr14", out=tmp_path / "out", root=root, options=nih.options(), workers=1)
    found = records(tmp_path / "out", "nih_cxr14", "test")
    assert found["00000007_000.png"]["attributes"] == {"sex": "M", "age": 58.0, "view": "AP"}
    assert found["00000008_000.png"]["attributes"] == {"sex": "F", "view": "PA"}
    assert [note for note in report["notes"] if "ages" in note] == [
        "1 ages are none from 0 to 120 years and are left out, such as '411' (Data_Entry_2017.csv row 11)"
    ]
    metadata = json.loads((Path(report["directory"]) / "metadata.json").read_text())
    assert metadata["attributes"] == ["sex", "age", "view"]


@pytest.mark.parametrize("name", ["rsna", "siim_acr"])
def test_an_odd_age_of_a_dicom_header_is_a_note(tmp_path, name):
    """A file that cannot be read is a drop and needs no further note."""
    module = {"rsna": rsna, "siim_acr": siim}[name]
    root = module.tree(tmp_path)
    odd, broken = (next(root.rglob(f"{image}.dcm")) for image in (module.NONE, module.ONE))
    write_dicom(odd, picture(module.SIDE, seed=9), age="148")
    write_dicom(broken, None, age="151")
    options = module.options(split_fractions={"train": 1.0})
    report = build(name, out=tmp_path / "out", root=root, options=options, workers=1)
    assert [note for note in report["notes"] if " age " in note] == [
        f"row 2: {odd.relative_to(root)}: age '148' is none from 0 to 120 years and is left out"
    ]
    assert json.loads((Path(report["directory"]) / "notes.json").read_text()) == report["notes"]
    assert records(tmp_path / "out", name, "train")[module.NONE]["attributes"] == {"sex": "F", "view": "PA"}
    assert [drop["kind"] for drop in report["drops"]] == ["DICOM without pixels"]


def test_rsna_reads_the_headers(tmp_path):
    build("rsna", out=tmp_path / "out", root=rsna.tree(tmp_path), options=rsna.options(), workers=1)
    found = records(tmp_path / "out", "rsna", "train")
    assert [record["attributes"] for record in found.values()] == [{"sex": "F", "age": 51.0, "view": "PA"}] * 4


@pytest.mark.parametrize("layout", ["dicom", "png_masks"])
def test_siim_acr_has_them_in_dicom_files_only(tmp_path, layout):
    root = siim.tree(tmp_path) if layout == "dicom" else siim.png_tree(tmp_path, masks=True)
    options = SiimAcrOptions(partial=True, size=64, layout=layout, split_fractions={"train": 1.0})
    build("siim_acr", out=tmp_path / "out", root=root, options=options, workers=1)
    found = records(tmp_path / "out", "siim_acr", "train")
    given = {"sex": "F", "age": 51.0, "view": "PA"}
    assert {name: record.get("attributes") for name, record in found.items()} == dict.fromkeys(
        found, given if layout == "dicom" else None
    )


def test_folder_takes_the_columns_that_there_are(tmp_path):
    rows = [
        {"file": "a.png", "view": "PA", "sex": "F", "age": "61"},
        {"file": "b.png", "view": "", "sex": "", "age": "?"},
    ]
    write(tmp_path, rows, header=(*HEADER, "sex", "age"))
    columns = OPTIONS["columns"] | {"sex": "sex", "age": "age"}
    options = FolderOptions(**OPTIONS | {"columns": columns})
    report = build("folder", out=tmp_path / "out", root=tmp_path, options=options, workers=1)
    found = records(tmp_path / "out", "folder", "train")
    assert found["a.png"]["attributes"] == {"sex": "F", "age": 61.0, "view": "PA"}
    assert found["b.png"]["attributes"] == {}
    assert any("such as '?' (labels.csv row 3)" in note for note in report["notes"])
    plain = {key: value for key, value in OPTIONS["columns"].items() if key != "view"}
    options = FolderOptions(**OPTIONS | {"columns": plain})
    build("folder", out=tmp_path / "plain", root=tmp_path, options=options, workers=1)
    assert "attributes" not in records(tmp_path / "plain", "folder", "train")["a.png"]
