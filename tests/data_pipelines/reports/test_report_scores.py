import io
import json
import tarfile

import numpy as np
import pytest

from data_pipelines.radgraph import Triplet
from data_pipelines.reports import mesh_codes
from data_pipelines.reports import scores as scores
from data_pipelines.reports.areas import code_areas, our_areas
from data_pipelines.reports.openi_xml import OpeniReport, parse_report, read_reports
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="INDICATION">A mass?</AbstractText>
<AbstractText Label="FINDINGS">{findings}</AbstractText><AbstractText Label="IMPRESSION"/>
</Abstract></Article></MedlineCitation>
<MeSH>{codes}</MeSH><parentImage id="CXR{n}_1"/></eCitation>"""
SAID = {
    1: ("Small left effusion.", "Pleural Effusion/left/small"),
    2: ("No effusion. Opacity at the right base.", "Opacity/lung/base/right"),
    6: ("Borderline cardiomegaly.", "Cardiomegaly/borderline"),
    7: ("Clear.", "No Indexing"),
    8: ("Nodule in the left upper lobe.", "Mass/lung/left"),
}


def xml(n, findings, *codes):
    return XML.format(n=n, findings=findings, codes="".join(f"<major>{code}</major>" for code in codes)).encode()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "reports.tgz"
    with tarfile.open(path, "w:gz") as file:
        for n, said in SAID.items():
            member = tarfile.TarInfo(f"ecgen-radiology/{n}.xml")
            content = xml(n, *said)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def report(text, *codes):
    return OpeniReport("CXR1", {"FINDINGS": text}, codes, ())


def test_reading(archive, tmp_path):
    first = next(read_reports(archive))
    assert first == OpeniReport(
        "CXR1",
        {"INDICATION": "A mass?", "FINDINGS": "Small left effusion.", "IMPRESSION": ""},
        ("Pleural Effusion/left/small",),
        ("CXR1_1",),
    )
    assert first.text == "FINDINGS: Small left effusion."
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "out", filter="data")
    assert list(read_reports(tmp_path / "out")) == list(read_reports(archive))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><eCitation>&b;</eCitation>', "document type"),
        ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"), "document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        (b"<eCitation><uId>", "not well-formed XML"),
        (b"<html/>", "no Open-I report"),
        (b"<eCitation/>", "no Open-I report"),
    ],
)
def test_bad_xml(content, said):
    with pytest.raises(InputError, match=said) as error:
        parse_report(content, name="9.xml")
    assert str(error.value).startswith("9.xml: ")
    assert "\n" not in str(error.value)


def test_bad_archives(tmp_path, monkeypatch, archive):
    bad = tmp_path / "bad.tgz"
    for content in (b"", b"no archive", archive.read_bytes()[:200]):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.tgz"):
            list(read_reports(bad))
    with pytest.raises(InputError, match="No such file"):
        list(read_reports(tmp_path / "none.tgz"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.xml files"):
        list(read_reports(tmp_path / "empty"))
    monkeypatch.setattr("data_pipelines.reports.openi_xml.LARGEST", 100)
    with pytest.raises(InputError, match="more than a report can have"):
        list(read_reports(archive))


def test_tables_speak_of_our_classes():
    assert set(mesh_codes.CLASSES) <= set(PATHOLOGIES)
    assert {name for names in mesh_codes.GROUPS for name in names} <= set(PATHOLOGIES)
    assert all(our_areas(anatomy, "opacity") for anatomy in ANATOMIES)


@pytest.mark.parametrize(
    ("codes", "asserted", "doubtful"),
    [
        (["Opacity/lung/base/left", "Airspace Disease/lung"], {"opacity"}, set()),
        (["Hydropneumothorax/left"], {"effusion", "pneumothorax"}, set()),
        (["Cardiac Shadow/enlarged/mild"], {"cardiomegaly"}, set()),
        (["Cardiac Shadow/obscured"], {"obscure"}, set()),
        (["Cardiomegaly/borderline"], {"borderline"}, {"cardiomegaly"}),
        (["Cardiomegaly/borderline", "Cardiomegaly/mild"], {"borderline", "cardiomegaly"}, set()),
        (["Atherosclerosis/aorta"], set(), {"calcification"}),
        (["Lung/hypoinflation", "Lung/azygos lobe"], {"low"}, set()),
        (["Aorta,  Thoracic/tortuous", "Thoracic vertebrae/degenerative"], {"tortuous", "degenerative"}, set()),
        (["normal"], set(), set()),
        ([], set(), set()),
    ],
)
def test_codes_to_classes(codes, asserted, doubtful):
    parsed = [mesh_codes.parse_code(code) for code in codes]
    assert mesh_codes.asserted(parsed) == asserted
    assert mesh_codes.doubtful(parsed) == doubtful


@pytest.mark.parametrize(
    ("code", "pathology", "areas"),
    [
        ("Opacity/lung/base/bilateral", "opacity", {"left lower lung", "right lower lung"}),
        ("Opacity/lung/base", "opacity", {"left lower lung", "right lower lung"}),
        ("Opacity/lung/middle lobe/right", "opacity", {"right middle lung"}),
        ("Opacity/lung/lingula", "opacity", {"left upper lung"}),
        ("Opacity/lung/left", "opacity", {"left lung"}),
        ("Opacity", "opacity", {"lung"}),
        ("Calcinosis/lung/hilum/lymph nodes/right", "calcification", {"right hilum"}),
        ("Thickening/pleura/apex/left", "thicken", {"left pleura"}),
        ("Pleural Effusion/right", "effusion", {"right pleura"}),
        ("Pleural Effusion", "effusion", {"pleura"}),
        ("Pneumothorax/apex/right", "pneumothorax", {"right upper lung"}),
        ("Costophrenic Angle/bilateral/blunted", "blunt", {"left costophrenic angle", "right costophrenic angle"}),
        ("Fractures, Bone/ribs/left", "fracture", {"rib"}),
        ("Cardiomegaly/mild", "cardiomegaly", {"heart"}),
    ],
)
def test_codes_to_areas(code, pathology, areas):
    assert code_areas(mesh_codes.parse_code(code), pathology) == areas


def test_sets_of_a_report():
    one = report("-", "Opacity/lung/base/left", "Cardiomegaly/borderline", "Nodule/lung/left")
    found = [
        Triplet("lower_left_lobe", "opacity", True),
        Triplet("unspecified", "opacity", True),
        Triplet("heart_size", "cardiomegaly", True),
        Triplet("unspecified", "nodule", False),
        Triplet("unspecified", "process", True),
    ]
    assert scores.presence(one, found) == ({"opacity", "borderline", "nodule"}, {"opacity"})
    coded = {("opacity", "left lower lung"), ("borderline", "heart"), ("nodule", "left lung")}
    assert scores.pairs(one, found) == (coded, {("opacity", "left lower lung"), ("opacity", "lung")})
    assert scores.placed_pairs(one, found) == (coded - {("borderline", "heart")}, {("opacity", "left lower lung")})


def test_rates_by_hand():
    counts = np.array([[[3, 1, 0], [0, 0, 2]], [[0, 1, 1], [1, 0, 0]]])
    summary = scores.summarise(counts, ["a", "b"], resamples=200)
    assert summary["classes"]["a"]["precision"] == 0.6
    assert summary["classes"]["a"]["recall"] == 0.75
    assert summary["micro"]["f1"] == round(2 * 4 / (2 * 4 + 2 + 3), 4)
    low, high = summary["micro"]["f1_interval"]
    assert low <= summary["micro"]["f1"] <= high
    assert low < high
    assert summary["reports"] == 2


def test_halves_are_halves():
    halves = [scores.half(f"CXR{i}") for i in range(4000)]
    assert abs(halves.count("tuning") - 2000) < 150


def test_command(archive, capsys):
    scores.main(["--iu_xray", str(archive), "--phantoms", "3", "--json"])
    result = json.loads(capsys.readouterr().out)
    whole = result["iu_xray"]["all"]["presence"]
    assert whole["reports"] == 4
    assert whole["classes"]["effusion"]["f1"] == 1
    assert whole["classes"]["mass"]["false_negatives"] == whole["classes"]["nodule"]["false_positives"] == 1
    assert "cardiomegaly" not in whole["classes"]
    scores.main(["--iu_xray", str(archive), "--phantoms", "1"])
    assert "all (micro)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        scores.main(["--iu_xray", str(archive.parent / "none.tgz")])
    assert stop.value.code == 2


def test_phantom_triplets():
    """Unseen seeds, known wordings. A reader that has the wrong reports must fail, or the score shows nothing."""
    result = scores.score_phantoms(range(9_500_000, 9_500_100))
    assert result["micro"]["f1"] >= 0.98
    assert min(row["f1"] for row in result["classes"].values()) >= 0.98


def test_phantom_score_notices_a_bad_reader(monkeypatch):
    monkeypatch.setattr(scores, "extract", lambda text, read=scores.extract: read(text.replace("No ", "")))
    result = scores.score_phantoms(range(9_500_000, 9_500_030))
    assert result["classes"]["absent"]["recall"] < 0.7
