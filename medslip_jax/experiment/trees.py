"""Config trees, as files and checkpoints hold them: read into dataclasses, written back, compared."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from medslip_jax.errors import InputError, from_section
from medslip_jax.experiment.sections import METRICS, Experiment, FineTuning, Pretraining, Section, default_experiment

# Sections whose keys stand at the top of a tree.
_TOP = ("run", "task")

Chosen = TypeVar("Chosen", Pretraining, FineTuning)


def read(tree: Mapping) -> Experiment:
    """A config tree as dataclasses, every value checked; keys that an earlier version did not write have defaults.

    Args:
      tree: nested mapping, such as an `ml_collections.ConfigDict` or what was JSON.

    Raises:
      InputError: an unknown key, or a value that cannot be used; for fine-tuning also no targets, a metric of the
        other kind, or masks that a flip would give the wrong names.
    """
    left = plain(tree)
    default = default_experiment(left["kind"] if "tune" in left else "medslip")
    known = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    given = {name: left.pop(name, {}) for name in known if name not in _TOP}
    for name in (name for name in _TOP if name in known):
        keys = [field.name for field in dataclasses.fields(known[name]) if field.name in left]
        given[name] = {key: left.pop(key) for key in keys}
    if left:
        raise InputError(f"config: unknown keys {', '.join(sorted(left))}; medslip_jax/experiment/sections.py has all")
    sections = {name: with_fields(section, given[name], name=f"config.{name}") for name, section in known.items()}
    experiment = dataclasses.replace(default, **sections)
    return experiment if isinstance(experiment, Pretraining) else _settled(experiment)


def read_as(tree: Mapping, expected: type[Chosen]) -> Chosen:
    """`read`; `InputError` if it is an experiment of the other kind."""
    experiment = read(tree)
    if not isinstance(experiment, expected):
        verb = "pretrain" if isinstance(experiment, Pretraining) else "finetune"
        raise InputError(f"the config is one of `medslip {verb}`; start it with that")
    return experiment


def with_fields(known: Section, given: Mapping, *, name: str) -> Section:
    """A dataclass with the given fields in place of its own, nested ones too."""
    given = dict(given)
    for field in dataclasses.fields(known):
        if dataclasses.is_dataclass(getattr(known, field.name)) and field.name in given:
            given[field.name] = with_fields(getattr(known, field.name), given[field.name], name=f"{name}.{field.name}")
    own = {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}
    return from_section(type(known), own | given, name=name)


def plain(value: Any) -> Any:
    """A ConfigDict, or JSON, with dicts for its nodes and tuples for its lists."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def _settled(experiment: FineTuning) -> FineTuning:
    """With what follows from other keys, and what only they together can be wrong in."""
    task, metric, targets = experiment.task, experiment.eval.metric, experiment.task.wanted
    if metric not in METRICS[task.kind]:
        raise InputError(f"eval.metric={metric!r}: one of {', '.join(METRICS[task.kind])}")
    if targets.kind == "masks" and experiment.data.augment.flip == "swap_sides" and targets.mirrored() is None:
        raise InputError(
            f"targets={targets.specs}: the mirror image of one is no target; set --config.data.augment.flip=none"
        )
    model = dataclasses.replace(experiment.model, num_classes=len(targets.specs))
    return dataclasses.replace(experiment, model=model)


def tree_of(experiment: Experiment) -> dict:
    """The config tree of an experiment, as `default_config` lays it out; JSON-able but for its tuples."""
    sections = dataclasses.asdict(experiment)
    return sections.pop("run") | sections.pop("task", {}) | sections


def differences(saved: Mapping, current: Mapping, *, prefix: str = "") -> list[str]:
    """Keys whose values differ, as `key: saved -> current`, in the order of the saved tree."""
    saved, current, lines = plain(saved), plain(current), []
    for key in [*saved, *(k for k in current if k not in saved)]:
        a, b = saved.get(key), current.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, prefix=f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines
