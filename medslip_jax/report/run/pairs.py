"""The anatomy-by-pathology section of the page on a run: predicted beside true, for what reports mention."""

from collections.abc import Mapping

import numpy as np

from medslip_jax.evaluation.metrics.calibration import agreement
from medslip_jax.report.contents.charts import heat_map
from medslip_jax.report.html import paragraph, quiet

KEYS = ("pair_predicted", "pair_true", "pair_count")
_ENOUGH = 5  # images that mention a pair
_BESIDE = 26  # columns up to which two maps fit beside each other and can still be read


def pairs(predictions: Mapping[str, np.ndarray]) -> str:
    """The section's body, from the arrays of `predictions.npz`; a row or column needs one cell with enough images."""
    if any(key not in predictions for key in KEYS):
        return quiet(
            "These predictions hold no anatomy-by-pathology matrix: a model with one stream has none, and an older "
            "medslip evaluate wrote none."
        )
    predicted, true, counts = (np.asarray(predictions[key], np.float64) for key in KEYS)
    shown = (counts >= _ENOUGH) & np.isfinite(predicted) & np.isfinite(true)
    if not shown.any():
        return quiet(f"No pair of anatomy and pathology is mentioned in {_ENOUGH} reports or more of this split.")
    # The most frequent first, as the matrix of a data set has it.
    rows, columns = (_order(np.where(shown, counts, 0).sum(axis=axis)) for axis in (1, 0))
    names = {
        "rows": [str(predictions["anatomy_names"][i]) for i in rows],
        "columns": [str(predictions["pathology_names"][i]) for i in columns],
    }
    cells = shown[np.ix_(rows, columns)]
    parts = []
    for title, values, scale in (
        ("predicted: mean probability in per cent", predicted, 100),
        ("true: images with the pair, in per cent", true, 100),
        ("images that mention the pair", counts, 1),
    ):
        part = np.where(cells, values[np.ix_(rows, columns)], 0)
        shades = part if scale == 100 else np.log1p(part) / np.log1p(max(part.max(), 1))
        drawn = heat_map(np.rint(part * scale).astype(int), np.clip(shades, 0, 1), **names, title=title, drawn=cells)
        parts.append(f'<div><h3>{title}</h3><div class="scroll">{drawn}</div></div>')
    kind = "maps beside" if len(columns) <= _BESIDE else "maps"
    said_first = paragraph(_summary(predicted[shown], true[shown], counts[shown]))
    return f'{said_first}<div class="{kind}">{"".join(parts)}</div>'


def _summary(predicted: np.ndarray, true: np.ndarray, counts: np.ndarray) -> str:
    found = agreement(predicted, true)
    r = "not defined (one of the two does not vary)" if found["correlation"] is None else f"{found['correlation']:.3f}"
    return (
        f"{len(predicted):,} pairs that at least {_ENOUGH} reports mention, {int(counts.sum()):,} mentions in all. "
        f"Correlation over these pairs: {r}; mean absolute difference: {found['difference']:.3f}. Both maps have the "
        "same scale, white 0 to dark 100 per cent; the shades of the counts are logarithmic. Blank: fewer mentions."
    )


def _order(totals: np.ndarray) -> list[int]:
    """Indices of those above 0, the largest first."""
    return [int(i) for i in np.argsort(-totals, kind="stable") if totals[i] > 0]
