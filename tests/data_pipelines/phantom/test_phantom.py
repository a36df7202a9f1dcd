"""The phantom: same bytes everywhere, radiological convention, honest boxes and reports, difficulty."""

import re
import zlib
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thumbnail_baseline import thumbnail_baseline

from data_pipelines.phantom.canvas import bent, ramp, ribbon, rounded
from data_pipelines.phantom.drawing import FOCAL, PATHOLOGIES_DRAWN, Phantom, draw
from data_pipelines.phantom.findings import PLACES
from data_pipelines.phantom.regions import REGIONS
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

# How a report may word each drawn pathology.
STEMS = {name: name for name in PATHOLOGIES_DRAWN} | {
    "opacity": "opacit(y|ies)",
    "elevation": "elevat(ion|ed)",
    "lead": "leads?",
}
HEDGES = re.compile(r"This (may|could) represent [^.]*\.|Pneumonia cannot be excluded\.|Possible [^.]*\.")


@cache
def studies() -> tuple[Phantom, ...]:
    return tuple(draw(seed, size=64) for seed in range(400))


def _present(study: Phantom) -> set[str]:
    return {finding.pathology for finding in study.findings}


@pytest.mark.parametrize(
    ("seed", "size", "image", "report", "masks"),
    [
        (0, 256, 2883849738, 311673564, 3943301034),
        (8, 128, 2781677798, 631123839, 3895172762),
        (14, 97, 491878201, 1219846535, 2470069326),
    ],
)
def test_bytes_are_pinned(seed, size, image, report, masks):
    study = draw(seed, size=size)
    assert zlib.crc32(study.image.tobytes()) == image
    assert zlib.crc32(study.report.encode()) == report
    assert zlib.crc32(b"".join(np.packbits(finding.mask).tobytes() for finding in study.findings)) == masks


@pytest.mark.parametrize(("seed", "size"), [(-1, 128), (0, 63)])
def test_bad_input_is_named(seed, size):
    with pytest.raises(InputError, match=f"seed {seed}, size {size}"):
        draw(seed, size=size)


def test_names_are_in_the_vocabulary():
    assert len(PATHOLOGIES_DRAWN) == 16
    assert set(PATHOLOGIES_DRAWN) <= set(PATHOLOGIES)
    assert set(FOCAL) <= set(PATHOLOGIES_DRAWN)
    assert {anatomy for places in PLACES.values() for anatomy in places} <= set(ANATOMIES)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**63), size=st.sampled_from([64, 97, 128, 224]))
def test_study_is_consistent(seed, size):
    study = draw(seed, size=size)
    assert study.image.shape == (size, size)
    assert study.image.dtype == np.uint8
    assert study.image.std() > 10
    assert len({finding.pathology for finding in study.findings} - {"lead"}) <= 4
    for finding in study.findings:
        assert finding.mask.shape == (size, size)
        assert finding.mask.dtype == bool
        assert finding.anatomy in PLACES[finding.pathology]
        rows, columns = np.nonzero(finding.mask)
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(np.array(finding.box) * size, tight, atol=1e-9)
    for anatomy, pathology, exists in study.triplets:
        assert anatomy in ANATOMIES
        assert pathology in PATHOLOGIES
        assert isinstance(exists, bool)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**63))
def test_report_and_triplets_say_the_truth(seed):
    study = draw(seed, size=64)
    drawn = {(finding.anatomy, finding.pathology) for finding in study.findings}
    for anatomy, pathology, exists in study.triplets:
        if pathology not in PATHOLOGIES_DRAWN:
            continue
        if exists:
            assert (anatomy, pathology) in drawn or (anatomy == "unspecified" and pathology in _present(study))
        elif anatomy.split("_")[0] not in ("left", "right") and "lobe" not in anatomy:
            assert pathology not in _present(study)
        else:
            assert (anatomy, pathology) not in drawn
    told = {pathology for _, pathology, exists in study.triplets if exists}
    for finding in study.findings:
        assert finding.mentioned == (finding.pathology in told)


def test_what_is_drawn_is_denied_only_beside_its_mention():
    """Else its class would count as absent in an image that shows it."""
    for study in studies():
        denied = {pathology for _, pathology, exists in study.triplets if not exists}
        assert not denied & {finding.pathology for finding in study.findings if not finding.mentioned}


def test_report_mentions_exactly_what_the_triplets_hold():
    for study in studies():
        text = HEDGES.sub("", study.report)
        worded = {name for name, stem in STEMS.items() if re.search(rf"\b{stem}\b", text, re.IGNORECASE)}
        assert worded == {pathology for _, pathology, _ in study.triplets} & set(PATHOLOGIES_DRAWN), study.report


def test_reports_are_english_sentences_of_many_forms():
    reports = [study.report for study in studies()]
    assert len(set(reports)) == len(reports)
    for report in reports:
        assert re.fullmatch(r"([A-Z][^.{}]*\. )*[A-Z][^.{}]*\.", report), report
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  ", report), report


def test_every_pathology_is_common_and_both_told_and_denied():
    for name in PATHOLOGIES_DRAWN:
        share = np.mean([name in _present(study) for study in studies()])
        assert 0.10 <= share <= 0.25, name
        verdicts = [exists for study in studies() for _, p, exists in study.triplets if p == name]
        assert sum(verdicts) >= 30, name
        assert len(verdicts) - sum(verdicts) >= 30, name


def test_some_are_normal_and_some_findings_go_unmentioned():
    assert 0.09 <= np.mean([not study.findings for study in studies()]) <= 0.20
    mentioned = [finding.mentioned for study in studies() for finding in study.findings]
    assert 0.85 <= np.mean(mentioned) <= 0.95


def test_similar_findings_occur_on_both_sides():
    for name in ("opacity", "consolidation", "pneumonia", "nodule", "mass", "atelectasis"):
        places = {f.anatomy for study in studies() for f in study.findings if f.pathology == name}
        assert len(places) >= 6
        assert {"left", "right"} <= {part for place in places for part in place.split("_")}


def test_left_of_the_patient_is_right_of_the_image():
    """Averaged over studies: lungs dark, heart bright, its apex to the image's right."""
    average = np.mean([study.image for study in studies()], 0)
    lungs, heart = average[24:36, [*range(14, 22), *range(43, 51)]], average[34:42, 28:40]
    assert lungs.mean() < heart.mean() - 40
    assert average[36:42, 38:44].mean() > average[36:42, 20:26].mean() + 10
    for study in studies():
        for finding in study.findings:
            centre = (finding.box[0] + finding.box[2]) / 2
            if finding.pathology == "cardiomegaly":
                assert np.nonzero(finding.mask)[1].mean() / 64 > 0.4
            elif "left" in finding.anatomy.split("_"):
                assert centre > 0.46
            elif "right" in finding.anatomy.split("_") and finding.pathology != "lead":
                assert centre < 0.54


def test_zones_are_a_lung_in_order_from_top_to_bottom_and_lie_on_its_side():
    for study in studies():
        assert tuple(study.regions) == REGIONS and set(REGIONS) <= set(ANATOMIES)
        lungs = [study.regions[f"{side}_lung_unspec"] for side in ("left", "right")]
        assert not (lungs[0] & lungs[1]).any() and not (np.maximum(*lungs) & study.regions["heart_size"]).all()
        for side, lung in zip(("left", "right"), lungs, strict=True):
            zones = [study.regions[f"{side}_{zone}_lung"] for zone in ("upper", "mid", "lower")]
            np.testing.assert_array_equal(np.sum(zones, axis=0, dtype=int), lung)
            heights = [np.nonzero(zone)[0].mean() for zone in zones if zone.any()]
            assert heights == sorted(heights) and lung.mean() > 0.02
    left, right = (np.mean([s.regions[f"{side}_lung_unspec"] for s in studies()], 0) for side in ("left", "right"))
    assert np.average(np.arange(64), weights=left.sum(0)) > 40 > 24 > np.average(np.arange(64), weights=right.sum(0))


def test_findings_in_aerated_lung_lie_inside_their_lung_and_mostly_inside_their_zone():
    shares = []
    for study in studies():
        for finding in study.findings:
            side = finding.anatomy.split("_")[0]
            if finding.pathology in ("consolidation", "opacity", "pneumonia", "effusion") and side in ("left", "right"):
                # Faint ones are outlined at a lower coverage than a lung, so a few pixels of an edge may be left.
                assert study.regions[f"{side}_lung_unspec"][finding.mask].mean() > 0.9
            if finding.pathology in ("nodule", "opacity") and finding.anatomy in study.regions:
                shares.append(study.regions[finding.anatomy][finding.mask].mean())
    assert len(shares) > 40 and np.median(shares) > 0.85 and np.mean(np.array(shares) > 0.5) > 0.9


def test_an_enlarged_heart_is_the_region_of_the_heart():
    enlarged = [(s, f) for s in studies() for f in s.findings if f.pathology == "cardiomegaly"]
    assert len(enlarged) > 30
    for study, finding in enlarged:
        np.testing.assert_array_equal(finding.mask, study.regions["heart_size"])


def test_enlarged_hearts_lie_to_the_left_of_the_body():
    """Against the vertical axis of each body (its outline's middle), not of the image, which shifts."""
    sides = []
    for study in studies():
        for finding in study.findings:
            if finding.pathology == "cardiomegaly":
                x0, _, x1, _ = finding.box
                outline = np.nonzero(study.image[40] > 30)[0]
                sides.append((x0 + x1) / 2 - outline.mean() / 64)
    assert np.mean(sides) > 0.02


def test_same_picture_at_any_size():
    for seed in range(6):
        small, large = draw(seed, size=128), draw(seed, size=256)
        assert (small.report, small.triplets) == (large.report, large.triplets)
        shrunk = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(small.image.ravel(), shrunk.ravel())[0, 1] > 0.97
        for a, b in zip(small.findings, large.findings, strict=True):
            np.testing.assert_allclose(a.box, b.box, atol=0.03)


def test_findings_brighten_or_darken_their_masks():
    """A lump is brighter than the ring around it, a pneumothorax darker than the same spot elsewhere."""
    ring_kernel = np.ones((9, 9), np.uint8)
    contrast = {"nodule": [], "mass": [], "consolidation": [], "opacity": [], "pacemaker": []}
    for seed in range(150):
        study = draw(seed, size=128)
        for finding in study.findings:
            if finding.pathology in contrast:
                ring = cv2.dilate(finding.mask.astype(np.uint8), ring_kernel).astype(bool) & ~finding.mask
                contrast[finding.pathology].append(study.image[finding.mask].mean() - study.image[ring].mean())
    for name, values in contrast.items():
        assert np.median(values) > 12, name


def test_nodules_and_masses_divide_at_30_mm():
    for study in studies():
        for finding in study.findings:
            x0, y0, x1, y1 = finding.box
            across = 400 * max(x1 - x0, y1 - y0)
            if finding.pathology == "nodule":
                assert across < 30 + 2 * 400 / 64
            elif finding.pathology == "mass":
                assert across > 30 - 400 / 64


def test_outlines_by_hand():
    np.testing.assert_array_equal(rounded([(0, 0), (4, 0), (4, 4)], times=1)[:3], [(1, 0), (3, 0), (4, 1)])
    np.testing.assert_array_equal(bent([(0, 0), (4, 0)], times=1), [(0, 0), (1, 0), (3, 0), (4, 0)])
    band = ribbon(np.array([(0.0, 0.0), (10.0, 0.0)]), 4, end_width=2)
    np.testing.assert_array_equal(band, [(0, 2), (10, 1), (10, -1), (0, -2)])
    assert [ramp(x, ((0, 0), (2, 10), (3, 0))) for x in (-1, 1, 2.5, 9)] == [0, 5, 5, 0]


def test_thumbnail_baseline_sees_what_is_plain_and_names_what_has_no_auroc():
    rng = np.random.default_rng(0)
    images = rng.integers(90, 110, (120, 64, 64)).astype(np.uint8)
    bright = np.arange(120) % 2
    images[bright == 1, :16, :16] += 60
    labels = np.stack([bright, np.zeros(120, int)], 1)
    result = thumbnail_baseline(images[:80], labels[:80], images[80:], labels[80:])
    assert result == {"macro": 1.0, "per_class": [1.0, None]}


@pytest.mark.slow
def test_thumbnails_do_not_solve_the_phantom():
    drawn = [*studies(), *(draw(seed, size=64) for seed in range(400, 900))]
    images = np.stack([study.image for study in drawn])
    labels = np.array([[name in _present(study) for name in PATHOLOGIES_DRAWN] for study in drawn], int)
    assert 0.55 <= thumbnail_baseline(images[:650], labels[:650], images[650:], labels[650:])["macro"] <= 0.80
