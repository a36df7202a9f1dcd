"""Sex, age and view of an image as listings and DICOM headers write them -> `attributes` of a record, checked."""

import math
import re

NAMES = ("sex", "age", "view")
OLDEST = 120.0
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}
# "58", "058Y" (DICOM's Age String), "11M", "3W", "13D".
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([YMWD]?)")
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def attributes_of(*, sex: str = "", age: str = "", view: str = "") -> tuple[tuple[str, str | float], ...]:
    """What is known of ("sex", "F" or "M"), ("age", years), ("view", in capitals), in this order.

    What is empty, unreadable or impossible is left out, as unknown: NIH ChestX-ray14 has ages such as 411, and a DICOM
    header may say "O" or nothing.

    >>> attributes_of(sex="f", age="058Y", view="PA")
    (('sex', 'F'), ('age', 58.0), ('view', 'PA'))
    >>> attributes_of(sex="", age="411", view="")
    ()
    """
    years = years_of(age)
    known = {"sex": _SEXES.get(sex.strip().upper()), "age": years, "view": view.strip().upper() or None}
    return tuple((name, value) for name, value in known.items() if value is not None)


def years_of(age: str) -> float | None:
    """An age as written, in years from 0 to `OLDEST`; None if it is none. Below one year it keeps two decimals."""
    match = _AGE.fullmatch(age.strip().upper())
    if match is None:
        return None
    years = float(match[1]) / _PER_YEAR[match[2]]
    if not math.isfinite(years) or years > OLDEST:
        return None
    return years if match[2] in ("", "Y") else round(years, 2)


def odd_age(age: str) -> str:
    """A note on an age that is written but not taken, "" if it is neither.

    >>> odd_age("148"), odd_age("58"), odd_age("")
    ("age '148' is none from 0 to 120 years and is left out", '', '')
    """
    odd = age.strip() and years_of(age) is None
    return f"age {age!r} is none from 0 to {OLDEST:g} years and is left out" if odd else ""


def odd_ages(ages: dict[str, str]) -> str | None:
    """One note on all ages of a listing, {where: as written}; None if each is taken or empty."""
    odd = {where: age for where, age in ages.items() if odd_age(age)}
    if not odd:
        return None
    where, age = next(iter(odd.items()))
    return f"{len(odd)} ages are none from 0 to {OLDEST:g} years and are left out, such as {age!r} ({where})"
