"""Which tensors of a source enter which places of a target: strict, unless a name is excused."""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from medslip_jax.errors import InputError

Shapes = Mapping[str, Sequence[int]]


@dataclasses.dataclass(frozen=True)
class MatchReport:
    """Names that fit, and those that do not; `mismatched` as "NAME (3,), expected (4,)".

    `excused` are the names among the last three that the caller allowed; `idle` the patterns that excused nothing.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    excused: frozenset[str]
    idle: tuple[str, ...]

    @property
    def unfilled(self) -> frozenset[str]:
        """Target names that get nothing from the source, all of them excused once `check` has passed."""
        return frozenset(self.missing) | {line.split(" ")[0] for line in self.mismatched}

    def lines(self) -> list[str]:
        """For the user: a count each, and the names behind it."""
        return [f"loaded: {len(self.loaded)}", *(self._line(kind) for kind in ("missing", "unexpected", "mismatched"))]

    def check(self, where: str) -> None:
        """`InputError` naming `where` if a name that is not excused does not fit, or a pattern excuses nothing."""
        left = {kind: self._inexcusable(kind) for kind in ("missing", "unexpected", "mismatched")}
        if any(left.values()):
            parts = [f"{len(names)} {_TITLES[kind]} ({some(names)})" for kind, names in left.items() if names]
            raise InputError(f"{where}: {', '.join(parts)}; {len(self.loaded)} fit")
        if self.idle:
            raise InputError(f"{where}: nothing to excuse is called {', '.join(self.idle)}; all other names fit")

    def _inexcusable(self, kind: str) -> list[str]:
        return [line for line in getattr(self, kind) if line.split(" ")[0] not in self.excused]

    def _line(self, kind: str) -> str:
        names = getattr(self, kind)
        excused = sum(line.split(" ")[0] in self.excused for line in names)
        tail = f" ({excused} excused): {some(names)}" if names else ""
        return f"{_TITLES[kind]}: {len(names)}{tail}"


_TITLES = {"missing": "missing", "unexpected": "unexpected", "mismatched": "shape mismatch"}


def match(have: Shapes, want: Shapes, *, excuse: Iterable[str] = ()) -> MatchReport:
    """Compares a source's names and shapes with a target's.

    Args:
      have: {name: shape} of the source.
      want: {name: shape} of the target.
      excuse: names that need not fit, with `*` for any part ("decoder_*").

    >>> match({"a": (2,), "b": (3,)}, {"a": (2,), "c": (1,)}, excuse=["b"]).lines()
    ['loaded: 1', 'missing: 1 (0 excused): c', 'unexpected: 1 (1 excused): b', 'shape mismatch: 0']
    """
    both = [name for name in want if name in have]
    differ = [name for name in both if tuple(have[name]) != tuple(want[name])]
    missing = [name for name in want if name not in have]
    unexpected = [name for name in have if name not in want]
    bad, patterns = [*missing, *unexpected, *differ], tuple(excuse)
    return MatchReport(
        loaded=tuple(name for name in both if name not in differ),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        mismatched=tuple(f"{name} {tuple(have[name])}, expected {tuple(want[name])}" for name in differ),
        excused=frozenset(name for name in bad if any(fnmatch.fnmatchcase(name, p) for p in patterns)),
        idle=tuple(p for p in patterns if not any(fnmatch.fnmatchcase(name, p) for name in bad)),
    )


def shapes_of(arrays: Mapping) -> dict[str, tuple[int, ...]]:
    """{name: shape} of anything with a shape."""
    return {name: tuple(array.shape) for name, array in arrays.items()}


def check_finite(arrays: Mapping[str, np.ndarray], *, where: str) -> None:
    """`InputError` naming the tensors that hold NaN or infinity."""
    bad = [name for name, x in arrays.items() if x.dtype.kind == "f" and not np.isfinite(x).all()]
    if bad:
        raise InputError(f"{where}: {len(bad)} tensors hold NaN or infinity ({some(bad)}); the run had diverged")


def some(items: Sequence[str], limit: int = 4) -> str:
    """The first few of a list, and how many more there are."""
    return "; ".join(items[:limit]) + (f"; and {len(items) - limit} more" if len(items) > limit else "")
