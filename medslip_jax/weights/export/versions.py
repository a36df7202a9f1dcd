"""Which jax wrote an exported program, and which ones read it.

JAX's promise (its documentation, "Exporting and serializing staged-out computations", "Compatibility guarantees"): an
exported program is read by a jaxlib that was released up to six months after the one that wrote it, or up to three
weeks before. The days of the releases count, not those of writing and reading: an environment that stays as it is reads
its files for good.
"""

import calendar
import datetime
import re
from collections.abc import Mapping

import jax
import jax.export
import jaxlib

MONTHS = 6
# Days on which PyPI got them, as the wheels do not say. One that is missing here only costs the date.
RELEASED = {
    "0.10.2": datetime.date(2026, 6, 17),
    "0.11.0": datetime.date(2026, 7, 16),
    "0.11.1": datetime.date(2026, 8, 17),
    "0.11.2": datetime.date(2026, 9, 17),
    "0.12.0": datetime.date(2026, 10, 19),
    "0.12.0.1": datetime.date(2026, 10, 21),
}


def written_with() -> dict:
    """For the metadata of a file: versions, and until when JAX promises to read it.

    Equal under equal versions, whatever the day.

    Returns:
      {"jax", "jaxlib": versions, "jaxlib_released", "readable_by_releases_until": days as "2026-06-17", None where this
      package does not know the release, "promise": a sentence}.
    """
    released = release_day(jaxlib.__version__)
    until = None if released is None else months_later(released, MONTHS)
    unknown = f"of the {MONTHS} months after jaxlib {jaxlib.__version__}"
    readers = f"its releases {unknown if until is None else f'until {until.isoformat()}'}"
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "jaxlib_released": None if released is None else released.isoformat(),
        "readable_by_releases_until": None if until is None else until.isoformat(),
        "promise": f"written by jax {jax.__version__}; JAX promises that {readers} read it",
    }


def release_day(jaxlib_version: str) -> datetime.date | None:
    """When this jaxlib was released; None if this package does not know. Nightly builds have the day in their name.

    >>> release_day("0.10.2").isoformat(), release_day("0.13.0.dev20261130").isoformat(), release_day("0.9")
    ('2026-06-17', '2026-11-30', None)
    """
    nightly = re.search(r"\.dev(20\d\d)(0[1-9]|1[0-2])([0-2]\d|3[01])$", jaxlib_version)
    return datetime.date(*map(int, nightly.groups())) if nightly else RELEASED.get(jaxlib_version)


def months_later(day: datetime.date, months: int) -> datetime.date:
    """The same day of a later month, or the last one of a month that is too short.

    >>> months_later(datetime.date(2026, 8, 31), 6).isoformat()
    '2027-02-28'
    """
    years, month = divmod(day.month - 1 + months, 12)
    last = calendar.monthrange(day.year + years, month + 1)[1]
    return datetime.date(day.year + years, month + 1, min(day.day, last))


def unsupported(program: jax.export.Exported) -> str | None:
    """Why the installed jax does not support a program's calling convention; None if it does."""
    least = jax.export.minimum_supported_calling_convention_version
    most = jax.export.maximum_supported_calling_convention_version
    have = program.calling_convention_version
    return None if least <= have <= most else f"it calls by convention {have}, this jax by {least} to {most}"


def unreadable(metadata: Mapping, reason: str) -> str:
    """One line for a program that the installed jax cannot read: who wrote it, why, and what to do.

    Args:
      metadata: of the file, which anybody may have written.
      reason: of the failure.
    """
    writer, here = writer_of(metadata), jax.__version__
    reason = " ".join(reason.split())
    if writer is None or _numbers(writer) == _numbers(here):
        by = f"jax {here}" if writer else "a jax that it does not name"
        return f"written by {by}, and jax {here} cannot read it ({reason}); export it again with `medslip export`"
    if _numbers(writer) < _numbers(here):
        when = release_day(writer)
        by = f"jax {writer}" + (f" of {when.isoformat()}" if when else "")
        again = f"export it again from its checkpoint with `medslip export`, or read it with jax {writer}"
        return f"written by {by}, too old for jax {here} ({reason}); {again}"
    again = f"update jax to {writer}, or export it again with `medslip export` under jax {here}"
    return f"written by jax {writer}, too new for jax {here} ({reason}); {again}"


def writer_of(metadata: Mapping) -> str | None:
    """The version of jax that a file's metadata names; None without a plausible one."""
    stated = metadata.get("written_with")
    version = stated.get("jax") if isinstance(stated, Mapping) else None
    return version if isinstance(version, str) and re.fullmatch(r"\d+(\.\w+){1,6}", version) else None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]
