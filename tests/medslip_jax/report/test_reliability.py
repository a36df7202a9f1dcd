import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.calibration import calibration_report
from medslip_jax.report.reliability import draw_bins, reliability_grid


def _report(classes, n=200):
    rng = np.random.default_rng(0)
    scores = rng.random((n, classes))
    labels = (rng.random((n, classes)) < scores).astype(int)
    return calibration_report(scores, labels=labels, names=[f"class {i}" for i in range(classes)])


@pytest.mark.parametrize("classes", [1, 5, 7, 30])
def test_pictures_of_any_number_of_classes(tmp_path, classes):
    path = reliability_grid(_report(classes), tmp_path / "reliability.png", title="a set")
    picture = cv2.imread(str(path))
    lines = -(-min(classes, 20) // 5)
    assert picture.shape[0] > 150 * lines and picture.std() > 10
    assert [p.name for p in tmp_path.iterdir()] == ["reliability.png"]


def test_nothing_to_draw_is_refused(tmp_path):
    report = calibration_report(np.full((2, 1), 0.5), labels=np.full((2, 1), -1), names=["a"])
    with pytest.raises(InputError, match="no class with labels to draw"):
        reliability_grid(report, tmp_path / "reliability.png")


def test_bins_by_hand():
    """Of four images one is in the first tenth, three in the last; the bins between are empty."""
    empty = {"n": 0, "mean_score": None, "fraction_positive": None}
    bins = [{"low": k / 10, "high": (k + 1) / 10, **empty} for k in range(10)]
    bins[0] |= {"n": 1, "mean_score": 0.05, "fraction_positive": 0.0}
    bins[9] |= {"n": 3, "mean_score": 0.92, "fraction_positive": 1.0}
    axis = Figure().subplots()
    draw_bins(axis, bins)
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in axis.patches]
    np.testing.assert_allclose(bars, [(0, 0.1, 0.25), (0.9, 0.1, 0.75)])
    (dots,) = axis.collections
    np.testing.assert_allclose(dots.get_offsets(), [[0.05, 0], [0.92, 1]])
    assert dots.get_sizes()[0] < dots.get_sizes()[1]
