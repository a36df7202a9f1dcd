"""Charts of the page on a run: where a point lands, what is thinned out, and curves worked by hand."""

import re

import numpy as np
import pytest

from medslip_jax.evaluation.result_files import Judged
from medslip_jax.report.run.charts import UNIT, Axes, Line, chart, legend, stairs, thinned
from medslip_jax.report.run.curves import curves

EVIL = "<script>alert(1)</script>"


def test_a_point_lands_where_the_axes_say():
    # The plot of a 146 x 140 chart is 100 pixels wide from x = 38 and 100 high from y = 8 down to 108.
    drawn = chart(
        [Line("a", np.array([[0, 0], [0.5, 0.25], [1, 1]]))], Axes("x", "y", UNIT, UNIT, size=(146, 140)), title=""
    )
    assert 'd="M38 108L88 83L138 8"' in drawn


def test_logarithmic_only_where_values_ask_for_it():
    steep, flat = (np.array([[0, top], [1, 1.0]]) for top in (1000, 2))
    ticks = [
        re.findall(r'text-anchor="end">([^<]*)<', chart([Line("a", points)], Axes(y_scale="auto"), title=""))
        for points in (steep, flat)
    ]
    assert ticks[0] == ["1", "10", "100", "1000"]
    assert "1.5" in ticks[1]


@pytest.mark.parametrize("points", [[], [[0, np.nan]], [[np.inf, 1]]])
def test_nothing_to_draw(points):
    assert "No value to draw" in chart([Line("a", np.array(points))], Axes(), title="")


def test_one_point_and_gaps():
    drawn = chart([Line("a", np.array([[5, 0.5]]), mark="dots")], Axes(), title="")
    assert drawn.count("<circle") == 1 and "nan" not in drawn
    gap = chart([Line("a", np.array([[0, 0], [1, 1], [2, np.nan], [3, 3], [4, 4]]))], Axes(), title="")
    assert re.search(r'd="(M[^M"]*)(M[^M"]*)" fill="none" stroke-lin', gap)


def test_stairs_and_thinning():
    assert stairs(np.array([[0, 1], [0.5, 0.6], [1, 0.4]])).tolist() == [
        [0, 1],
        [0, 0.6],
        [0.5, 0.6],
        [0.5, 0.4],
        [1, 0.4],
    ]
    line = np.array([[0, 0], [1, 0], [1.1, 0], [2, 0], [2, 3], [2, 5], [2, 4]])
    assert thinned(line).tolist() == [[0, 0], [2, 0], [2, 5], [2, 4]]
    assert len(thinned(np.column_stack([np.linspace(0, 100, 100_000), np.zeros(100_000)]))) == 2


def test_names_are_escaped():
    line = Line(EVIL, np.array([[0, 0], [1, 1]]))
    drawn = chart([line], Axes(EVIL, EVIL), title=EVIL) + legend([line])
    assert "<script" not in drawn and drawn.count("&lt;script&gt;") == 5


def test_a_class_of_one_label_has_no_curve():
    assert "No curve" in curves(Judged(["a"], np.ones((2, 1)), np.ones((2, 1), int)))


def test_many_classes_are_folded():
    rng = np.random.default_rng(0)
    names = [f"c{i}" for i in range(14)] + [EVIL]
    text = curves(Judged(names, rng.random((40, 15)), rng.integers(0, 2, (40, 15))))
    assert "3 more classes with fewer positives" in text and "<script" not in text
    assert text.count("<svg class") == 2 + 2 * 15
