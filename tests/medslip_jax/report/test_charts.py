"""Charts of the pages: where a point lands, what can be read, and curves worked by hand."""

import numpy as np
import pytest
from svg_pictures import paths, pictures, texts

from medslip_jax.evaluation.metrics.curves import Curves
from medslip_jax.evaluation.result_files import Judged
from medslip_jax.report.charts import empty_chart, picture
from medslip_jax.report.run.curves import _card, curves
from medslip_jax.report.run.training import training

EVIL = "<script>alert(1)</script>"


def drawn(x, y, *, title="t", label="y"):
    # The plot is 100 points wide from x = 38 and 100 high from y = 8 down to 108.
    axes = empty_chart(146, 140, x_label="x", y_label=label)
    axes.plot(x, y, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return picture(axes, title=title, legend="best")


def test_a_point_lands_where_the_axes_say_and_numbers_are_whole():
    (found,) = pictures(drawn([0, 0.5, 1], [0, 0.25, 1]))
    assert "M 38 108 L 88 83 L 138 8" in paths(found)
    assert {"0", "0.25", "0.5", "1", "x", "y"} <= set(texts(found))


def test_the_same_bytes_again_and_few_of_them():
    x = np.linspace(0, 1, 100_000)
    assert drawn(x, x**2) == drawn(x, x**2)
    assert len(drawn(x, x**2)) < 20_000


def test_names_are_text_and_no_formulas():
    text = drawn([0, 1], [0, 1], title=EVIL, label=f"{EVIL} $x^2$")
    assert "<script" not in text and text.count("&lt;script&gt;") == 1
    assert texts(pictures(text)[0]).count(f"{EVIL} $x^2$") == 2  # axis and legend


def test_logarithmic_only_where_values_ask_for_it():
    ticks = [
        texts(pictures(training([{"step": 0, "loss": top}, {"step": 1, "loss": 1.0}]))[0]) for top in (1000.0, 2.0)
    ]
    assert {"1", "10", "100", "1000"} <= set(ticks[0])
    assert "1.6" in ticks[1] and "10" not in ticks[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nothing_to_draw(value):
    assert "No value to draw" in training([{"step": 0, "loss": value}])


def test_gaps():
    lines = [{"step": i, "loss": value} for i, value in enumerate([0.0, 1.0, float("nan"), 3.0, 4.0])]
    assert any(path.count("M") == 2 for path in paths(pictures(training(lines))[0]))


def test_precision_is_drawn_as_average_precision_sums_it():
    """Before each point its height at the recall before it."""
    pr = np.array([[0, 1], [0.5, 0.6], [1, 0.4]])
    curve = Curves("a", roc=pr[:, ::-1], pr=pr, auroc=1.0, average_precision=0.5, n_positive=1, n_negative=1)
    # 130 points wide from 38, 140 high from 8.
    assert "M 38 8 L 38 64 L 103 64 L 103 92 L 168 92" in paths(pictures(_card(curve))[1])


def test_a_class_of_one_label_has_no_curve():
    assert "No curve" in curves(Judged(["a"], np.ones((2, 1)), np.ones((2, 1), int)))


def test_many_classes_are_folded():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(14)] + [EVIL]
    text = curves(Judged(names, rng.random((40, 15)), rng.integers(0, 2, (40, 15))))
    assert "3 more classes with fewer positives" in text and "<script" not in text
    found = pictures(text)
    assert len(found) == 2 + 2 * 15
    assert [name.split(":")[0] for name in texts(found[0])[-3:]] == ["best", "median", "worst"]
