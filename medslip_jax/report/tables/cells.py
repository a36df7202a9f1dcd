"""Numbers of every table, and columns of plain-text ones."""

from collections.abc import Mapping, Sequence


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


def align(lines: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """Cells -> lines of a fixed-width font; columns in `left` start together, the others end together.

    >>> align([["a", "10"], ["bcd", "5"]], left=(0,))
    ['a    10', 'bcd   5']
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    )
    return ["  ".join(cells).rstrip() for cells in aligned]
