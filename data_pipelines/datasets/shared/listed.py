"""Lists of an official download: reading them line by line, how long they must be, and which images are there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.datasets.building.plan import Drop, Policy
from medslip_jax.errors import InputError


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without white space at its ends) of every line that is not blank.

    Raises:
      InputError: the file cannot be read or is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise InputError(f"{path}: cannot read the list ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from error


def require_rows(path: Path, found: int, *, official: int, partial: bool) -> None:
    """`InputError` if a list was cut off, as a download that breaks does, and this is not a `partial` one."""
    if found != official and not partial:
        raise InputError(
            f"{path}: {found} rows, the official release has {official}; download it again or build with --partial"
        )


def files_by_name(root: Path, pattern: str) -> dict[str, str]:
    """Name -> path relative to the root of every file of a glob pattern.

    Raises:
      InputError: two files of one name.
    """
    found: dict[str, str] = {}
    for path in sorted(root.glob(pattern)):
        other = found.setdefault(path.name, path.relative_to(root).as_posix())
        if other != path.relative_to(root).as_posix():
            raise InputError(f"{path}: a file of this name is {root / other} too; remove one of them")
    return found


def obey(policy: Policy, *, listing: Path, drops: Sequence[Drop], kinds: Sequence[str]) -> None:
    """Policy "fail" also for what is known before an image is read: `InputError` at the first drop of these kinds."""
    for drop in drops:
        if policy == "fail" and drop.kind in kinds:
            raise InputError(f"{listing}: row {drop.row}: {drop.reason}; repair it or build with policy skip")
