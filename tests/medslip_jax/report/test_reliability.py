import cv2
import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.evaluation.metrics.calibration import calibration_report
from medslip_jax.report.reliability import reliability_grid


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
