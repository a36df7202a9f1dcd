"""Versions, the bounds of setup.py, and the optional extras, from what pip has written; nothing is imported."""

import importlib.metadata
from collections.abc import Sequence

from packaging.requirements import Requirement

from medslip_jax.doctor.findings import Section

PACKAGE = "medslip_jax"
_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "transformers", "numpy")
_SHOWN_IF_THERE = (
    *("torch", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin"),
    *("onnxruntime", "gradio", "apache-beam"),
)


def version_of(name: str) -> str | None:
    """What is installed; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements(name: str = PACKAGE) -> dict[str, list[Requirement]]:
    """Those of an installed package by extra, "" for what it always needs; {} if it is not installed."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return {}
    needs = [Requirement(line) for line in metadata.get_all("Requires-Dist", ())]
    found = {"": [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]}
    for extra in metadata.get_all("Provides-Extra", ()):
        others = [need for need in needs if need not in found[""]]
        found[extra] = [need for need in others if need.marker and need.marker.evaluate({"extra": extra})]
    return found


def packages() -> Section:
    """Versions of what matters, and every requirement that is missing or too old."""
    section = Section("packages")
    for name in (PACKAGE, *_SHOWN):
        section.facts[name] = version_of(name) or "not installed"
    section.facts |= {name: version for name in _SHOWN_IF_THERE if (version := version_of(name))}
    if version_of(PACKAGE) is None:
        section.complain(f"{PACKAGE} is imported but not installed", next_step="pip install -e . where setup.py lies")
    for extra, needs in requirements().items():
        # Too old a package of an extra is as harmful, as then the extra is there and does not work; but not of one that
        # nobody has installed: pip itself brings an old setuptools.
        if extra and None in map(version_of, _packages_of(needs)):
            continue
        by = f"{PACKAGE}[{extra}]" if extra else PACKAGE
        for need in needs:
            version, step = version_of(need.name), f"pip install '{need.name}{need.specifier}'"
            if version is None and not extra:
                section.complain(f"{need.name} is not installed", next_step=step)
            elif version and not need.specifier.contains(version, prereleases=True):
                section.complain(f"{need.name} {version}: {by} needs {need.specifier}", next_step=step)
    return section


def extras() -> Section:
    """For each extra whether its packages are there, and the line that installs it. None has to be."""
    section = Section("extras")
    for extra, needs in requirements().items():
        if names := _packages_of(needs) if extra else []:
            missing = [name for name in names if version_of(name) is None]
            lacking = f"without {', '.join(missing)}; pip install '{PACKAGE}[{extra}]'"
            section.facts[extra] = lacking if missing else ", ".join(names)
    return section


def _packages_of(needs: Sequence[Requirement]) -> list[str]:
    """What requirements stand for: of "jax[tpu]" the packages of JAX's own extra, as JAX is here anyway."""
    found = []
    for need in needs:
        inner = [other.name for extra in need.extras for other in requirements(need.name).get(extra, ())]
        found += [name for name in inner if name not in ("jaxlib", "requests")] or [need.name]
    return found
