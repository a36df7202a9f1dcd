"""Numbers and columns of plain-text tables."""

from collections.abc import Sequence


def number(value: float | None) -> str:
    """Three digits, "-" for none.

    >>> number(0.5), number(None)
    ('0.500', '-')
    """
    return "-" if value is None else f"{value:.3f}"


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
