"""The counts of a data set as parts of its page: pathologies, anatomies, and what occurs with what."""

from collections.abc import Sequence
from html import escape

import numpy as np

from data_pipelines.datasets import Contents
from medslip_jax.report.contents.charts import bar, heat_map
from medslip_jax.report.html import Markup, counts_table
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES


def pathologies(contents: Contents) -> str:
    """A line a class: the truth of every split, and what the training matrices of all say."""
    splits = list(contents.splits.values())
    labels, mentions = _sum(contents, "labels"), _sum(contents, "mentions")
    order = _stated(labels)
    order += [i for i in _stated(mentions) if i not in order]
    rows = [
        [Markup(bar(labels[i])), PATHOLOGIES[i], *(n for split in splits for n in split.labels[i]), *mentions[i]]
        for i in order
    ]
    for name in sorted({name for split in splits for name in split.targets}):
        counts = [split.targets.get(name, (0, 0, split.records)) for split in splits]
        rows.append([Markup(bar(np.sum(counts, axis=0).tolist())), f"{name} (target)", *np.ravel(counts), "", "", ""])
    groups = [*(f"{name}, labels" for name in contents.splits), "all, training matrix"]
    return counts_table(rows, first="pathology", groups=groups) + _silent(PATHOLOGIES, order)


def anatomies(contents: Contents) -> str:
    """A line an anatomy: whether the training matrix has something there, only denies it there, or does not name it."""
    places = _sum(contents, "places")
    order = _stated(places)
    rows = [
        [Markup(bar(places[i])), ANATOMIES[i], *(n for split in contents.splits.values() for n in split.places[i])]
        for i in order
    ]
    groups = [f"{name}, training matrix" for name in contents.splits]
    return (counts_table(rows, first="anatomy", groups=groups) if rows else "") + _silent(ANATOMIES, order)


def together(contents: Contents) -> str:
    """Pathology x pathology, only those that occur."""
    counts = _sum(contents, "together")
    order = [i for i in _falling(np.diag(counts)) if counts[i, i]]
    shown, names = counts[np.ix_(order, order)], [PATHOLOGIES[i] for i in order]
    shades = shown / np.maximum(np.diag(shown)[:, None], 1)
    said = (
        "How many records have both in their labels, all splits; on the diagonal, how many have the one. "
        "The darker, the larger the share of the row's records that also have the column's."
    )
    return _map(shown, shades, rows=names, columns=names, said=said)


def pairs(contents: Contents) -> str:
    """Anatomy x pathology, only those that occur."""
    counts = _sum(contents, "pairs")
    rows = [i for i in _falling(counts.sum(axis=1)) if counts[i].any()]
    columns = [i for i in _falling(counts.sum(axis=0)) if counts[:, i].any()]
    shown = counts[np.ix_(rows, columns)]
    shades = np.log1p(shown) / np.log1p(max(counts.max(), 1))
    said = (
        "How many records have the pathology at the anatomy in their training matrix, all splits; logarithmic shades."
    )
    return _map(shown, shades, rows=[ANATOMIES[i] for i in rows], columns=[PATHOLOGIES[i] for i in columns], said=said)


def _map(counts: np.ndarray, shades: np.ndarray, *, rows: Sequence[str], columns: Sequence[str], said: str) -> str:
    if not counts.size:
        return ""
    picture = heat_map(counts, shades, rows=rows, columns=columns, title=said)
    return f'<p>{escape(said)}</p><div class="scroll">{picture}</div>'


def _sum(contents: Contents, field: str) -> np.ndarray:
    return np.sum([getattr(split, field) for split in contents.splits.values()], axis=0)


def _falling(values: np.ndarray) -> list[int]:
    """Indices, the largest value first; equal ones in the order of the vocabulary."""
    return [int(i) for i in np.argsort(-values, kind="stable")]


def _stated(counts: np.ndarray) -> list[int]:
    """Indices of the rows that are present or absent in a record, the most frequent first."""
    return [i for i in _falling(counts[:, 0]) if counts[i, :2].any()]


def _silent(names: Sequence[str], order: Sequence[int]) -> str:
    silent = ", ".join(name for i, name in enumerate(names) if i not in order)
    return f'<p class="quiet">Never stated: {escape(silent)}.</p>' if silent else ""
