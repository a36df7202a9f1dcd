"""ROC and precision-recall curves of a class."""

import dataclasses

import numpy as np
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve


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
