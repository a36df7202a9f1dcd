"""ROC and precision-recall curves of the page on a run: all classes in one chart each, then class by class."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from medslip_jax.evaluation.result_files import Judged
from medslip_jax.report.run.charts import COLOURS, FAINT, UNIT, Axes, Line, chart, legend, stairs
from medslip_jax.report.run.html import captioned, missing, multiples, said

_SHOWN = 12
_SMALL = (176, 180)
_LARGE = (340, 320)


@dataclasses.dataclass(frozen=True)
class Curves:
    """One class: points (false positive rate, true positive rate) and (recall, precision), and what they amount to."""

    name: str
    roc: np.ndarray
    pr: np.ndarray
    auroc: float
    average_precision: float
    n_positive: int
    n_negative: int


def curves_of(scores: np.ndarray, labels: np.ndarray, *, name: str) -> Curves | None:
    """The curves of one class by scikit-learn; None if its known labels do not hold both values.

    Args:
      scores: float (n,), finite.
      labels: int (n,), 1 present, 0 absent, -1 unknown, which are left out.
      name: of the class.
    """
    known = labels >= 0
    truth, score = labels[known], scores[known]
    positive = int(truth.sum())
    if positive in (0, len(truth)):
        return None
    false_rate, true_rate, _ = roc_curve(truth, score)
    precision, recall, _ = precision_recall_curve(truth, score)
    # From recall 0 up, and at each recall the highest threshold, as average precision takes it.
    rising = np.column_stack([recall, precision])[::-1]
    rising = rising[1:][np.diff(rising[:, 0]) > 0]
    pr = np.concatenate([[[0.0, rising[0, 1]]], rising])
    return Curves(
        name=name,
        roc=np.column_stack([false_rate, true_rate]),
        pr=pr,
        auroc=float(auc(false_rate, true_rate)),
        average_precision=float(average_precision_score(truth, score)),
        n_positive=positive,
        n_negative=len(truth) - positive,
    )


def curves(judged: Judged) -> str:
    """The section's body."""
    columns = zip(judged.names, judged.scores.T, judged.labels.T, strict=True)
    found = [curve for name, scores, labels in columns if (curve := curves_of(scores, labels, name=name))]
    if not found:
        return missing("No curve: no class has both positive and negative labels in these predictions.")
    order = sorted(found, key=lambda curve: -curve.n_positive)
    cards = [
        captioned(curve.name, f'<div class="pair">{_roc([curve])}{_pr([curve])}</div>', _note(curve)) for curve in order
    ]
    if len(found) == 1:
        return said("Unknown labels are left out; broken lines are chance.") + multiples(cards, shown=1, more="")
    text = (
        f"All {len(found)} classes with both kinds of labels; unknown labels are left out. In the large charts the "
        "best, the median and the worst class by AUROC are coloured. Small charts follow from the class with most "
        "positives on; broken lines are chance."
    )
    return said(text) + _overview(found) + multiples(cards, shown=_SHOWN, more="classes with fewer positives")


def _overview(found: Sequence[Curves]) -> str:
    """Everything in grey under the best, median and worst class."""
    ranked = sorted(found, key=lambda curve: -curve.auroc)
    named = dict(zip(("best", "median", "worst"), (ranked[0], ranked[len(ranked) // 2], ranked[-1]), strict=True))
    chosen = list({id(curve): (word, curve) for word, curve in named.items()}.values())
    lines = [
        Line(f"{word}: {curve.name}", curve.roc, colour=COLOURS[i], width=2) for i, (word, curve) in enumerate(chosen)
    ]
    parts = [
        captioned(title, draw(found, highlighted=[curve for _, curve in chosen], size=_LARGE) + legend(lines))
        for title, draw in (("ROC, all classes", _roc), ("precision and recall, all classes", _pr))
    ]
    return f'<div class="charts">{"".join(parts)}</div>'


def _roc(found: Sequence[Curves], *, highlighted: Sequence[Curves] = (), size: tuple[int, int] = _SMALL) -> str:
    lines = [
        Line("chance", np.array([[0, 0], [1, 1]]), colour="#9ab", width=1, dashes="3 3"),
        *_lines([(curve.name, curve.roc) for curve in found], [(c.name, c.roc) for c in highlighted]),
    ]
    axes = Axes("false positive rate", "true positive rate", UNIT, UNIT, size=size)
    return chart(lines, axes, title=f"ROC of {_whose(found)}")


def _pr(found: Sequence[Curves], *, highlighted: Sequence[Curves] = (), size: tuple[int, int] = _SMALL) -> str:
    lines = _lines([(curve.name, stairs(curve.pr)) for curve in found], [(c.name, stairs(c.pr)) for c in highlighted])
    if len(found) == 1:
        share = found[0].n_positive / (found[0].n_positive + found[0].n_negative)
        lines.insert(0, Line("chance", np.array([[0, share], [1, share]]), colour="#9ab", width=1, dashes="3 3"))
    axes = Axes("recall", "precision", UNIT, UNIT, size=size)
    return chart(lines, axes, title=f"precision and recall of {_whose(found)}")


def _lines(all_: Sequence[tuple], highlighted: Sequence[tuple]) -> list[Line]:
    if not highlighted:
        return [Line(name, points) for name, points in all_]
    faint = [Line(name, points, colour=FAINT, width=0.9) for name, points in all_]
    return faint + [Line(name, points, colour=COLOURS[i], width=2) for i, (name, points) in enumerate(highlighted)]


def _whose(found: Sequence[Curves]) -> str:
    return found[0].name if len(found) == 1 else f"{len(found)} classes"


def _note(curve: Curves) -> str:
    numbers = f"AUROC {curve.auroc:.3f}, AP {curve.average_precision:.3f}"
    return f"{numbers}; {curve.n_positive:,} positive, {curve.n_negative:,} negative"
