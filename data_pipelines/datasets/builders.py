"""The builders by the name of their data set, imported when one is asked for."""

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipelines.datasets.shared.listings import read_json
from medslip_jax.errors import InputError

if TYPE_CHECKING:
    from data_pipelines.datasets.building.planned import PlannedBuilder

# name -> module and builder class
BUILDERS = {
    "phantom": ("data_pipelines.datasets.phantom", "Phantom"),
    "folder": ("data_pipelines.datasets.folder", "Folder"),
    "mimic_cxr": ("data_pipelines.datasets.mimic_cxr", "MimicCxr"),
    "nih_cxr14": ("data_pipelines.datasets.nih_cxr14", "NihCxr14"),
    "rsna": ("data_pipelines.datasets.rsna", "Rsna"),
    "siim_acr": ("data_pipelines.datasets.siim_acr", "SiimAcr"),
    "covidx": ("data_pipelines.datasets.covidx", "CovidX"),
    "openi": ("data_pipelines.datasets.openi", "Openi"),
}


def builder_class(name: str) -> "type[PlannedBuilder]":
    """The TFDS builder of that name; `InputError` lists the names if there is none."""
    if name not in BUILDERS:
        raise InputError(f"unknown data set {name!r}; one of: {', '.join(BUILDERS)}")
    module, attribute = BUILDERS[name]
    return getattr(importlib.import_module(module), attribute)


def options_of(name: str, *, file: Path | None, given: Mapping[str, Any]) -> Any:
    """The options of a data set: what `file`, a JSON object, says of them, with those `given` that are not None on top;
    of an option that is an object in both, the keys that are given.

    Raises:
      InputError: a file that cannot be read, or an option that the data set does not have or that has another value.
    """
    kind = builder_class(name).OPTIONS
    values = read_json(file, dict, what="the options") if file else {}
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise InputError(f"{file}: unknown option {unknown[0]!r} of {name}")
    for key, value in given.items():
        within = isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        values |= {} if value is None else {key: {**values[key], **value} if within else value}
    try:
        return kind(**values)
    except InputError as error:
        raise InputError(f"{file}: {error}") if file else error from error
