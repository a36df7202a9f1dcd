"""Versions, the lower bounds of setup.py, and the optional extras, from what pip has written; nothing is imported."""

import importlib.metadata
import re
from typing import NamedTuple

from medslip_jax.doctor.findings import Section

PACKAGE = "medslip_jax"
_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "transformers", "numpy")
_SHOWN_IF_THERE = (
    *("torch", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin"),
    *("onnxruntime", "gradio", "apache-beam"),
)


class Requirement(NamedTuple):
    """One line of a package's metadata: "jax[tpu]>=0.5; extra == 'x'"."""

    name: str
    extras: tuple[str, ...]
    least: str
    extra: str


def parse(line: str) -> Requirement:
    """Reads what setuptools writes for a lower bound; packaging would read more, but may itself be missing.

    >>> parse('jax-cuda12-plugin[with-cuda]<=0.10.2,>=0.10.2; extra == "cuda"')
    Requirement(name='jax-cuda12-plugin', extras=('with-cuda',), least='0.10.2', extra='cuda')
    """
    spec, _, marker = line.partition(";")
    name = re.match(r"[A-Za-z0-9._-]+", spec.strip())[0]
    inside = re.search(r"\[([^]]*)\]", spec)
    least = re.search(r">=\s*([0-9][0-9a-zA-Z.]*)", spec)
    extra = re.search(r"extra\s*==\s*[\"']([^\"']+)[\"']", marker)
    extras = tuple(part.strip() for part in inside[1].split(",")) if inside else ()
    return Requirement(name, extras, least[1] if least else "", extra[1] if extra else "")


def older(version: str, least: str) -> bool:
    """Whether a version is below a bound, by the numbers in front; a pre-release counts as the release.

    >>> older("0.9.1", "0.10"), older("2.0", "2"), older("2.13.0+cpu", "2.13"), older("1.0rc1", "1.0")
    (True, False, False, False)
    """
    found, bound = _numbers(version), _numbers(least)
    length = max(len(found), len(bound))
    return found + [0] * (length - len(found)) < bound + [0] * (length - len(bound))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.match(r"[0-9.]*", version)[0].split(".") if part]


def version_of(name: str) -> str | None:
    """What is installed; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(name: str = PACKAGE) -> list[Requirement]:
    """Those of an installed package, with those of its extras; [] if it is not installed."""
    try:
        return [parse(line) for line in importlib.metadata.requires(name) or ()]
    except importlib.metadata.PackageNotFoundError:
        return []


def packages() -> Section:
    """Versions of what matters, and every requirement that is missing or too old."""
    section = Section("packages")
    for name in (PACKAGE, *_SHOWN):
        section.facts[name] = version_of(name) or "not installed"
    section.facts |= {name: version for name in _SHOWN_IF_THERE if (version := version_of(name))}
    if version_of(PACKAGE) is None:
        section.complain(f"{PACKAGE} is imported but not installed", next_step="pip install -e . where setup.py lies")
    lacking = {extra for extra, names in _packages_of_extras().items() if None in map(version_of, names)}
    for need in requirements():
        version = version_of(need.name)
        asked = f"{need.name}>={need.least}" if need.least else need.name
        if not need.extra and version is None:
            section.complain(f"{need.name} is not installed", next_step=f"pip install '{asked}'")
        # Too old a package of an extra is as harmful, as then the extra is there and does not work; but not of one that
        # nobody has installed: pip itself brings an old setuptools.
        elif need.extra not in lacking and version and need.least and older(version, need.least):
            by = f"{PACKAGE}[{need.extra}]" if need.extra else PACKAGE
            section.complain(f"{need.name} {version}: {by} needs {need.least}", next_step=f"pip install '{asked}'")
    return section


def extras() -> Section:
    """For each extra whether its packages are there, and the line that installs it. None has to be."""
    section = Section("extras")
    for extra, names in _packages_of_extras().items():
        missing = [name for name in names if version_of(name) is None]
        lacking = f"without {', '.join(missing)}; pip install '{PACKAGE}[{extra}]'"
        section.facts[extra] = lacking if missing else ", ".join(names)
    return section


def _packages_of_extras() -> dict[str, list[str]]:
    needs: dict[str, list[str]] = {}
    for need in requirements():
        if need.extra:
            needs.setdefault(need.extra, []).extend(_own_packages(need))
    return needs


def _own_packages(need: Requirement) -> list[str]:
    """What a requirement stands for: of "jax[tpu]" the packages of JAX's own extra, as JAX is here anyway."""
    if not need.extras:
        return [need.name]
    inner = [other.name for other in requirements(need.name) if other.extra in need.extras]
    return [name for name in inner if name not in ("jaxlib", "requests")] or [need.name]
