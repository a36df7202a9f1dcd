"""The pictures of the page on a data set, as HTML and SVG text: bars of counts, and tables as heat maps."""

from collections.abc import Sequence
from html import escape

import numpy as np

_CELL, _LETTER, _MARGIN = 24, 6.3, 8  # pixels
_LIGHT, _DARK = np.array([240, 245, 251]), np.array([11, 74, 143])
_WHITE_FROM = 0.45  # shade from which numbers are white


def bar(counts: Sequence[int]) -> str:
    """Present, absent and unknown as one stacked bar."""
    total = max(sum(counts), 1)
    parts = (
        f'<i class="{kind}" style="width:{100 * count / total:.2f}%"></i>'
        for kind, count in zip(("present", "absent", "unknown"), counts, strict=True)
    )
    return f'<span class="bar" role="img" aria-label="{_said(counts)}" title="{_said(counts)}">{"".join(parts)}</span>'


def heat_map(
    counts: np.ndarray,
    shades: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    drawn: np.ndarray | None = None,
) -> str:
    """A table of counts on a coloured ground as SVG; an empty cell is a 0, or one that is not `drawn`.

    Args:
      counts: int (rows, columns), written into the cells.
      shades: float (rows, columns) in [0, 1], light to dark.
      rows, columns: names.
      title: for those who do not see it.
      drawn: bool (rows, columns); those that are not 0 by default.
    """
    left, top = (_MARGIN + _LETTER * max(map(len, names)) for names in (rows, columns))
    width, height = left + _CELL * len(columns) + _MARGIN, top + _CELL * len(rows) + _MARGIN
    body = [
        *(
            f'<text x="{left - 5:.0f}" y="{top + _CELL * (i + 0.66):.0f}" text-anchor="end">{escape(name)}</text>'
            for i, name in enumerate(rows)
        ),
        *(
            f'<text transform="translate({left + _CELL * (j + 0.66):.0f} {top - 5:.0f}) rotate(-90)">'
            f"{escape(name)}</text>"
            for j, name in enumerate(columns)
        ),
        *(
            _cell(left + _CELL * j, top + _CELL * i, count=int(counts[i, j]), shade=float(shades[i, j]))
            for i, j in zip(*np.nonzero(counts if drawn is None else drawn), strict=True)
        ),
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{_CELL * len(columns)}" height="{_CELL * len(rows)}" '
        'fill="none" stroke="#bbc" />',
    ]
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg class="map" {size} role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'


def _cell(x: float, y: float, *, count: int, shade: float) -> str:
    red, green, blue = np.rint(_LIGHT + shade * (_DARK - _LIGHT)).astype(int)
    ink = "#fff" if shade > _WHITE_FROM else "#123"
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{_CELL}" height="{_CELL}" fill="rgb({red},{green},{blue})" />'
        f'<text x="{x + _CELL / 2:.0f}" y="{y + _CELL * 0.64:.0f}" text-anchor="middle" class="n" fill="{ink}">'
        f"{_short(count)}</text>"
    )


def _short(count: int) -> str:
    """At most four characters: 950, 3.2k, 17k, 1.2M."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            return f"{count / unit:.1f}{letter}" if count < 10 * unit else f"{count // unit}{letter}"
    return str(count)


def _said(counts: Sequence[int]) -> str:
    return "{} present, {} absent, {} unknown".format(*counts)
