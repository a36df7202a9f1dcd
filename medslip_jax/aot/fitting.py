"""The largest batch a chip that fits, from few compilations: each of them takes minutes."""

import math
from collections.abc import Callable
from typing import Any

from medslip_jax.aot.compiled import Attempt

# The first smaller batch leaves this share of the memory free, so that it is likely to fit and the line is long.
_HEADROOM = 0.1
_MAX_TRIES = 3


def largest_batch(
    attempt: Attempt, *, compile_at: Callable[[int], Attempt], verify: bool = False, multiple: int = 1
) -> dict[str, Any] | None:
    """How many images a chip fit, where `attempt.per_chip` do not; None where the memory is not what is wrong.

    A second program at a smaller batch gives a line, memory over batch, and the line meets the limit at an estimate.
    XLA saves memory where it is short of it, so the line is only nearly one.

    Args:
      attempt: the first try.
      compile_at: images a chip -> another try.
      verify: compile the estimate too, and smaller ones (three at most) until one fits.
      multiple: what the number of images must be a multiple of.

    Returns:
      {"estimate": images a chip or None, "compiled": the largest that was compiled and fits or None, "tries":
      [{"per_chip", "needs", "fits"}]}.
    """
    if not attempt.too_large:
        return None
    tries = [attempt]
    guess = round_batch(attempt.per_chip * (1 - _HEADROOM) * attempt.limit / attempt.needs, multiple=multiple)
    for number in range(1 + (_MAX_TRIES if verify else 0)):
        # The first one is for the line; the next one that fits is what was asked for.
        if guess < 1 or guess in {t.per_chip for t in tries} or (number > 1 and tries[-1].fits):
            break
        tries.append(compile_at(guess))
        guess = estimate(tries, multiple=multiple)
    return {
        "estimate": estimate(tries, multiple=multiple) or None,
        "compiled": max((t.per_chip for t in tries if t.fits), default=None),
        "tries": [{"per_chip": t.per_chip, "needs": t.needs, "fits": t.fits} for t in tries],
    }


def estimate(tries: list[Attempt], *, multiple: int = 1) -> int:
    """Images a chip at which the line through the two tries nearest to the limit meets it; 0 if none do.

    The result is below each batch that did not fit and not below one that did.
    """
    known = sorted((t for t in tries if t.needs is not None), key=lambda t: abs(t.needs - t.limit))
    fitting = max((t.per_chip for t in tries if t.fits), default=0)
    failing = min((t.per_chip for t in tries if not t.fits), default=math.inf)
    if len(known) < 2 or known[0].per_chip == known[1].per_chip:
        return fitting
    a, b = known[:2]
    slope = (a.needs - b.needs) / (a.per_chip - b.per_chip)
    if slope <= 0:
        return fitting
    crossing = a.per_chip + (a.limit - a.needs) / slope
    return max(fitting, round_batch(min(crossing, failing - 1), multiple=multiple))


def round_batch(images: float, *, multiple: int = 1) -> int:
    """Down to a multiple, of 8 as well where that leaves any: the rows of a TPU's tile."""
    whole = max(0, math.floor(images))
    step = math.lcm(8, multiple)
    return whole - whole % (step if whole >= step else multiple)
