"""ROC and precision-recall curves of the page on a run: all classes in one chart each, then class by class."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from medslip_jax.evaluation.metrics.curves import Curves, curves_of
from medslip_jax.evaluation.result_files import Judged
from medslip_jax.report.charts import CHANCE, COLOURS, FAINT, Place, empty_chart, picture
from medslip_jax.report.html import captioned, paragraph, quiet, side_by_side, small_multiples

_SHOWN = 12
_SMALL = (176, 180)
_LARGE = (340, 320)
_TICKS = (0, 0.5, 1)
_LABELS = {"ROC": ("false positive rate", "true positive rate"), "precision and recall": ("recall", "precision")}


def curves(judged: Judged) -> str:
    """The section's body."""
    columns = zip(judged.names, judged.scores.T, judged.labels.T, strict=True)
    found = [curve for name, scores, labels in columns if (curve := curves_of(scores, labels, name=name))]
    if not found:
        return quiet("No curve: no class has both positive and negative labels in these predictions.")
    order = sorted(found, key=lambda curve: -curve.n_positive)
    cards = [_card(curve) for curve in order]
    if len(found) == 1:
        return paragraph("Unknown labels are left out; broken lines are chance.") + side_by_side(cards)
    text = (
        f"All {len(found)} classes with both kinds of labels; unknown labels are left out. In the large charts the "
        "best, the median and the worst class by AUROC are coloured. Small charts follow from the class with most "
        "positives on; broken lines are chance."
    )
    more = "classes with fewer positives"
    return paragraph(text) + _overview(found) + small_multiples(cards, shown=_SHOWN, more=more)


def _overview(found: Sequence[Curves]) -> str:
    """Everything in grey under the best, median and worst class."""
    ranked = sorted(found, key=lambda curve: -curve.auroc)
    named = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
    # Of few classes one may be two of these.
    chosen = {curve.name: f"{word}: {curve.name}" for word, curve in named.items()}
    charts = []
    for kind in _LABELS:
        axes = _axes(kind, _LARGE)
        for curve in found:
            _draw(axes, kind, curve, color=FAINT, linewidth=0.9)
        for curve, colour in zip((c for c in ranked if c.name in chosen), COLOURS, strict=False):
            _draw(axes, kind, curve, color=colour, linewidth=1.8, label=chosen[curve.name])
        place: Place = "lower right" if kind == "ROC" else "upper right"
        drawn = picture(axes, title=f"{kind} of {len(found)} classes", legend=place)
        charts.append(captioned(f"{kind}, all classes", drawn))
    return side_by_side(charts)


def _card(curve: Curves) -> str:
    charts = []
    for kind in _LABELS:
        axes = _axes(kind, _SMALL)
        if kind != "ROC":
            axes.axhline(curve.n_positive / (curve.n_positive + curve.n_negative), **CHANCE)
        _draw(axes, kind, curve, color=COLOURS[0], linewidth=1.4)
        charts.append(picture(axes, title=f"{kind} of {curve.name}"))
    numbers = f"AUROC {curve.auroc:.3f}, AP {curve.average_precision:.3f}"
    note = f"{numbers}; {curve.n_positive:,} positive, {curve.n_negative:,} negative"
    return captioned(curve.name, f'<div class="pair">{"".join(charts)}</div>', note)


def _axes(kind: str, size: tuple[int, int]) -> Axes:
    """Of the unit square, with chance where it is one line for all classes."""
    x_label, y_label = _LABELS[kind]
    axes = empty_chart(*size, x_label=x_label, y_label=y_label)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=_TICKS, yticks=_TICKS)
    if kind == "ROC":
        axes.plot([0, 1], [0, 1], **CHANCE)
    return axes


def _draw(axes: Axes, kind: str, curve: Curves, **style: Any) -> None:
    """Precision as average precision sums it: before each point its height at the recall before it."""
    points, steps = (curve.roc, "default") if kind == "ROC" else (curve.pr, "steps-pre")
    axes.plot(points[:, 0], points[:, 1], drawstyle=steps, clip_on=False, **style)
