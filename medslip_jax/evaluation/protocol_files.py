"""Protocol files, and what a command line changes in them.

A protocol file (configs/eval) has `get_config(arg)`, which starts from `default_protocol()` and changes what differs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.datasets import BUILDERS
from medslip_jax.errors import InputError
from medslip_jax.evaluation.protocol import Protocol, read_protocol
from medslip_jax.experiment.config_files import load_config

# Flags of `medslip evaluate` that stand for a key, so that the common ones need no --config.x.y=.
_SAME_NAME = ("split", "threshold_split", "resamples", "batch_size", "pictures", "encoder")
FLAGS = {"data": "data.name", "data_dir": "data.dir"} | {name: name for name in _SAME_NAME}


def default_protocol() -> ConfigDict:
    """The protocol of a checkpoint on the test split of its own data; `protocol.Protocol` explains the keys."""
    return ConfigDict(dataclasses.asdict(Protocol()))


def load_protocol(argv: Sequence[str], *, flags: Mapping[str, Any]) -> ConfigDict:
    """The protocol of a command line.

    Args:
      argv: what holds `--config FILE[:arg]` and `--config.key=value`; without a file these change the default.
      flags: {name of `FLAGS`: value}, None where a flag is not given. A flag goes before the file, but not against a
        `--config.key=` of the same key, and `--data` not against a file that is for another data set.

    Raises:
      InputError: a file that cannot be read or is no protocol, a contradiction, a value out of its range.
    """
    argv, given = list(argv), {FLAGS[name]: (name, value) for name, value in flags.items() if value is not None}
    file = next((a for a in argv if a == "--config" or a.startswith("--config=")), None)
    if file is None:
        argv = [f"--config={Path(__file__)}", *argv]
    protocol = load_config(argv, documented="medslip_jax/evaluation/protocol.py")
    _check_is_protocol(protocol)
    for key, (name, value) in given.items():
        if any(a.split("=")[0] == f"--config.{key}" for a in argv):
            raise InputError(f"--{name} and --config.{key} are the same key; give one of them")
        _check_same_data(name, value, protocol)
        protocol.update_from_flattened_dict({key: value})
    if given.get("threshold_split", ("", None))[1] == "" and protocol.threshold_source == "validation":
        protocol.threshold_source = "none"
    read_protocol(protocol)
    return protocol


def get_config(arg: str | None = None) -> ConfigDict:
    """What a protocol file gives; this file is the default one."""
    if arg:
        raise InputError(f"the default protocol takes no argument, got {arg!r}")
    return default_protocol()


def _check_is_protocol(protocol: ConfigDict) -> None:
    default = default_protocol()
    extra, missing = sorted(set(protocol) - set(default)), sorted(set(default) - set(protocol))
    if extra or missing:
        wrong = f"no key {missing[0]!r}" if missing else f"an unknown key {extra[0]!r}"
        raise InputError(f"--config: not an evaluation protocol ({wrong}); configs/eval has one for each data set")


def _check_same_data(flag: str, value: Any, protocol: ConfigDict) -> None:
    """A protocol's class map is for its data set: another one of the known sets is a mistake, a path may be a copy."""
    named = protocol.data.name
    if flag == "data" and named and value != named and {value, named} <= set(BUILDERS):
        raise InputError(f"--data {value}: the protocol of --config is for {named}; take configs/eval/{value}.py")
