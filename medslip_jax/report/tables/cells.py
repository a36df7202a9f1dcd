"""A table as data, which is text on a terminal and HTML on a page, and the numbers in all of them."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence

WIDTH = 100  # columns of a terminal that notes are broken to


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with notes below; `str` is its text, aligned for a fixed-width font.

    >>> print(Table(["", "AUROC", "n"], [["mass", 0.5, 12], ["edema", None, 5]]))
           AUROC   n
    mass   0.500  12
    edema      -   5

    Attributes:
      head: names of the columns.
      rows: cells of text, counts, fractions (shown with three digits) and None ("-").
      notes: lines below it.
      left: columns whose cells start together; the others end together.
      summary: so many first rows are set apart from the others by a line.
    """

    head: Sequence[str]
    rows: Sequence[Sequence]
    notes: Sequence[str] = ()
    left: Sequence[int] = (0,)
    summary: int = 0

    def __str__(self) -> str:
        lines = [list(self.head), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        body = [
            "  ".join(
                cell.ljust(width) if i in self.left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        if self.summary:
            body.insert(1 + self.summary, "-" * max(map(len, body)))
        return "\n".join([*body, *(textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in self.notes)])


def number(value: float | None) -> str:
    """Three digits, "-" for none.

    >>> number(0.5), number(None)
    ('0.500', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def with_interval(value: float | None, interval: Mapping | None, *, sign: str = "") -> str:
    """A number with its "low" and "high", or without where there are none; `sign` "+" for differences.

    >>> with_interval(0.912, {"low": 0.8612, "high": 0.95}), with_interval(None, None)
    ('0.912 [0.861, 0.950]', '-')
    """
    if value is None:
        return "-"
    low, high = ((interval or {}).get(end) for end in ("low", "high"))
    shown = f"{value:{sign}.3f}"
    return shown if low is None or high is None else f"{shown} [{low:{sign}.3f}, {high:{sign}.3f}]"


def _shown(cell: str | float | None) -> str:
    return number(cell) if cell is None or isinstance(cell, float) else str(cell)
