import pytest

from data_pipelines.datasets.shared.xray import report_matrix
from data_pipelines.radgraph import Entity
from data_pipelines.reports.policy import TextPolicy, with_uncertain
from data_pipelines.reports.sections import select_section
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import anatomy_index, pathology_index

REPORT = """INDICATION: Cough.
FINDINGS: Left pleural effusion.
No pneumothorax.
IMPRESSION: Possible pneumonia.
"""


@pytest.mark.parametrize(
    ("section", "want"),
    [
        ("both", REPORT),
        ("findings", "Left pleural effusion.\nNo pneumothorax."),
        ("impression", "Possible pneumonia."),
    ],
)
def test_sections(section, want):
    assert select_section(REPORT, section) == want


def test_section_that_is_not_there_is_empty():
    assert select_section("IMPRESSION: Normal.", "findings") == ""
    assert select_section("", "impression") == ""


@pytest.mark.parametrize("header", ["FINDINGS AND IMPRESSION", "Findings/Impression", "FINDINGS & IMPRESSION"])
@pytest.mark.parametrize("section", ["findings", "impression"])
def test_a_section_under_one_header_with_the_other(header, section):
    assert select_section(f"HISTORY: Cough.\n{header}: Clear.\nRECOMMENDATION: None.", section) == "Clear."


def test_headers_within_a_section_do_not_end_it():
    findings = "Heart: Large.\nLungs: Effusion. Comparison: None. Ribs intact."
    report = f"FINDINGS:\n{findings}\n\nRECOMMENDATION: CT.\nIMPRESSION:\n"
    assert select_section(report, "findings") == findings
    assert select_section(report, "impression") == ""
    matrix = report_matrix(report, text=TextPolicy(section="findings"))
    assert matrix[:, pathology_index("effusion")].max() == 1


def test_headers_that_stand_alone_on_their_line():
    assert select_section("HISTORY\nCough.\n\nFINDINGS\nClear.\nIMPRESSION\nNormal.", "findings") == "Clear."


@pytest.mark.parametrize(("uncertain", "want"), [("ignore", -1), ("present", 1), ("absent", 0)])
def test_uncertain_findings(uncertain, want):
    matrix = report_matrix(REPORT, text=TextPolicy(uncertain=uncertain))
    assert matrix[:, pathology_index("pneumonia")].max() == want
    assert matrix[anatomy_index("left_pleural"), pathology_index("effusion")] == 1
    assert matrix[:, pathology_index("pneumothorax")].max() == 0


def test_given_entities_are_not_changed():
    entities = {"1": Entity("opacity", "opacity", "OBS-U", 0, ()), "2": Entity("lung", "lung", "ANAT-DP", 0, ())}
    changed = with_uncertain(entities, "present")
    assert [entity.label for entity in changed.values()] == ["OBS-DP", "ANAT-DP"]
    assert entities["1"].label == "OBS-U"


@pytest.mark.parametrize("field", ["section", "empty_text", "uncertain", "lateral"])
def test_values_are_checked(field):
    with pytest.raises(InputError, match=f"text.{field}='often': must be one of"):
        TextPolicy(**{field: "often"})
