"""ROC and precision-recall curves of the page on a run: all classes in one chart each, then class by class."""

from collections.abc import Sequence
from typing import Literal

from medslip_jax.evaluation.metrics.curves import Curves, curves_of
from medslip_jax.evaluation.result_files import Judged
from medslip_jax.report.run.charts import COLOURS, FAINT, UNIT, Axes, Line, chart, legend, reference, stairs
from medslip_jax.report.run.html import captioned, paragraph, quiet, side_by_side, small_multiples

_SHOWN = 12
_SMALL = (176, 180)
_LARGE = (340, 320)


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
    chosen = {curve.name: (word, curve) for word, curve in named.items()}.values()
    key = legend([Line(f"{word}: {c.name}", c.roc, colour=COLOURS[i], width=2) for i, (word, c) in enumerate(chosen)])
    drawn = {"highlighted": [curve for _, curve in chosen], "size": _LARGE}
    return side_by_side(
        [
            captioned("ROC, all classes", _chart("ROC", found, **drawn) + key),
            captioned("precision and recall, all classes", _chart("precision and recall", found, **drawn) + key),
        ]
    )


def _card(curve: Curves) -> str:
    numbers = f"AUROC {curve.auroc:.3f}, AP {curve.average_precision:.3f}"
    note = f"{numbers}; {curve.n_positive:,} positive, {curve.n_negative:,} negative"
    charts = _chart("ROC", [curve]) + _chart("precision and recall", [curve])
    return captioned(curve.name, f'<div class="pair">{charts}</div>', note)


def _chart(
    kind: Literal["ROC", "precision and recall"],
    found: Sequence[Curves],
    *,
    highlighted: Sequence[Curves] = (),
    size: tuple[int, int] = _SMALL,
) -> str:
    """The curves of all classes, in grey where some are highlighted; chance is drawn where it is one line."""
    roc = kind == "ROC"
    style = {"colour": FAINT, "width": 0.9} if highlighted else {}
    lines = [Line(c.name, c.roc if roc else stairs(c.pr), **style) for c in found]
    lines += [
        Line(c.name, c.roc if roc else stairs(c.pr), colour=COLOURS[i], width=2) for i, c in enumerate(highlighted)
    ]
    if roc:
        lines.insert(0, reference("chance"))
    elif len(found) == 1:
        share = found[0].n_positive / (found[0].n_positive + found[0].n_negative)
        lines.insert(0, reference("chance", heights=(share, share)))
    labels = ("false positive rate", "true positive rate") if roc else ("recall", "precision")
    whose = found[0].name if len(found) == 1 else f"{len(found)} classes"
    return chart(lines, Axes(*labels, UNIT, UNIT, size=size), title=f"{kind} of {whose}")
