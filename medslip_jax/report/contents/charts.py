"""The pictures of the page on a data set, as HTML: bars of counts, and tables on a coloured ground."""

from collections.abc import Sequence
from html import escape

import numpy as np

_LIGHT, _DARK = np.array([240, 245, 251]), np.array([11, 74, 143])
_WHITE_FROM = 0.45  # shade from which numbers are white


def bar(counts: Sequence[int]) -> str:
    """Present, absent and unknown as one stacked bar."""
    total = max(sum(counts), 1)
    parts = (
        f'<i class="{kind}" style="width:{100 * count / total:.2f}%"></i>'
        for kind, count in zip(("present", "absent", "unknown"), counts, strict=True)
    )
    said = "{} present, {} absent, {} unknown".format(*counts)
    return f'<span class="bar" role="img" aria-label="{said}" title="{said}">{"".join(parts)}</span>'


def heat_map(
    counts: np.ndarray,
    shades: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    drawn: np.ndarray | None = None,
) -> str:
    """A table of counts on a coloured ground; an empty cell is a 0, or one that is not `drawn`.

    Args:
      counts: int (rows, columns), written into the cells.
      shades: float (rows, columns) in [0, 1], light to dark.
      rows, columns: names.
      title: for those who do not see it.
      drawn: bool (rows, columns); those that are not 0 by default.
    """
    drawn = counts != 0 if drawn is None else drawn
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = []
    for name, *row in zip(rows, counts, shades, drawn, strict=True):
        cells = (_cell(int(n), float(shade)) if here else "<td></td>" for n, shade, here in zip(*row, strict=True))
        body.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    return (
        f'<table class="map" aria-label="{escape(title)}"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(count: int, shade: float) -> str:
    ground = bytes(np.rint(_LIGHT + shade * (_DARK - _LIGHT)).astype(np.uint8)).hex()
    ink = ";color:#fff" if shade > _WHITE_FROM else ""
    return f'<td style="background:#{ground}{ink}">{_short(count)}</td>'


def _short(count: int) -> str:
    """At most four characters: 950, 3.2k, 17k, 1.2M."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            return f"{count / unit:.1f}{letter}" if count < 10 * unit else f"{count // unit}{letter}"
    return str(count)
