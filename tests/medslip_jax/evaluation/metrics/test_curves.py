import numpy as np
import pytest

from medslip_jax.evaluation.metrics.curves import curves_of


def test_curves_by_hand():
    # Scores .9 .8 .4 .3 of 1 0 1 0; the fifth label is unknown.
    found = curves_of(np.array([0.9, 0.8, 0.4, 0.3, 0.99]), np.array([1, 0, 1, 0, -1]), name="a")
    assert found.roc.tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    assert found.pr.tolist() == [[0, 1], [0.5, 1], [1, 2 / 3]]
    assert found.auroc == 0.75
    assert found.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (found.n_positive, found.n_negative) == (2, 2)


@pytest.mark.parametrize("labels", [[1, 1], [-1, -1]])
def test_a_class_of_one_label_has_no_curve(labels):
    assert curves_of(np.array([0.1, 0.2]), np.array(labels), name="a") is None
