"""The report reader on the 3,955 reports of IU X-Ray, beside the checkout (CC BY-NC-ND: nothing of them is here)."""

import pytest
from places import SHARED

from data_pipelines.reports import scores as scores
from data_pipelines.reports.openi_xml import read_reports

REPORTS = SHARED / "iu_xray/NLMCXR_reports.tgz"
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def reports():
    if not REPORTS.exists():
        pytest.skip(f"{REPORTS} is not here: the reports are not part of the repository (licence)")
    return list(read_reports(REPORTS))


@pytest.fixture(scope="module")
def scored(reports):
    return scores.score_reports(reports)


def test_all_reports_are_read(reports, scored):
    assert len(reports) == len({one.report_id for one in reports}) == 3955
    assert scored["all"]["presence"]["reports"] == 3832


@pytest.mark.parametrize("half", scores.HALVES)
def test_presence(scored, half):
    summary = scored[half]["presence"]
    assert len(summary["classes"]) >= 35
    assert summary["micro"]["f1_interval"][0] >= 0.85


@pytest.mark.parametrize("half", scores.HALVES)
def test_places(scored, half):
    assert scored[half]["pairs"]["micro"]["f1"] >= 0.76
    assert scored[half]["placed_pairs"]["micro"]["f1"] >= 0.70


def test_what_the_page_says_is_held(scored):
    """docs/report_reader.md; what is changed for other reports must not cost these."""
    assert scored["held_out"]["presence"]["micro"]["f1"] >= 0.909
    assert scored["held_out"]["pairs"]["micro"]["f1"] >= 0.780


def test_codes_of_other_reports_do_not_agree(reports):
    """The scores come from the reports: with the codes of the next report they are gone."""
    some = [one for one in reports if scores.is_coded(one)][:800]
    moved = [
        scores.OpeniReport(one.report_id, one.sections, other.codes, ())
        for one, other in zip(some, [*some[1:], some[0]], strict=True)
    ]
    assert scores.score_reports(moved)["all"]["presence"]["micro"]["f1"] < 0.25
