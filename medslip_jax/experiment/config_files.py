"""Config files with typed arguments, and what a command line changes in them.

A config file has `get_config(arg) -> ml_collections.ConfigDict`; it starts from `default_config()` and changes
what differs.
"""

import contextlib
import runpy
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import default_experiment
from medslip_jax.experiment.trees import tree_of


def default_config() -> ConfigDict:
    """The released recipe (SPEC 5) as a tree, on a data set that the config file still has to name.

    Its keys are the fields of the dataclasses in `sections.Pretraining`, which explain them; those of `RunConfig` stand
    at the top.
    """
    return ConfigDict(tree_of(default_experiment("medslip")))


def default_fine_tuning(kind: str) -> ConfigDict:
    """Fine-tuning as of SPEC 7 as a tree: AdamW at 1e-5, batch 64, on a data set and targets still to be named.

    As `default_config`, from `sections.FineTuning`; the keys of `TaskConfig` stand at the top, too. A run sets
    model.num_classes, to the number of targets.
    """
    return ConfigDict(tree_of(default_experiment(kind)))


def parse_arg(arg: str | None, **defaults: bool | int | float | str) -> ConfigDict:
    """Typed argument string of a config file: "full,batch_size=32" with full=False, batch_size=64 as defaults.

    >>> parse_arg("full,size=32", full=False, size=64).to_dict()
    {'full': True, 'size': 32}
    """
    values = dict(defaults)
    for item in filter(None, (arg or "").split(",")):
        key, _, text = item.partition("=")
        if key not in defaults:
            raise InputError(f"config argument {key!r} is unknown; this file takes: {', '.join(defaults) or 'none'}")
        kind = type(defaults[key])
        if kind is str and not text:
            raise InputError(f"config argument {item!r}: write {key}=NAME")
        if kind is bool and text not in ("", "true", "false"):
            raise InputError(f"config argument {item!r}: write {key}, {key}=true or {key}=false")
        try:
            values[key] = text != "false" if kind is bool else kind(text)
        except ValueError as error:
            raise InputError(f"config argument {item!r}: write {key}=N, N being of type {kind.__name__}") from error
    return ConfigDict(values)


def names_of(file: str | Path) -> dict:
    """What a config file defines, {name: value}: for a file that builds on another one's `get_config`.

    Raises:
      InputError: no such file, or it cannot be run; the message names file and line.
    """
    if not Path(file).is_file():
        ours = "; configs/ is in the repository and not in the installed package: copy the file from there"
        raise InputError(f"--config {file}: no such file{ours if str(file).startswith('configs/') else ''}")
    with _named(str(file)):
        return runpy.run_path(str(file))


def load_config(argv: list[str], *, documented: str = "medslip_jax/experiment/sections.py") -> ConfigDict:
    """`["--config=FILE[:arg]", "--config.key=value", ...]` -> config; every failure is one `InputError` line, which
    names the file where the keys are `documented`."""
    places = [i for i, word in enumerate(argv) if word == "--config" or word.startswith("--config=")]
    if not places:
        raise InputError("--config FILE is missing, for example --config configs/phantom.py")
    if len(places) > 1:
        raise InputError("--config is given twice; give one file")
    _, joined, text = argv[places[0]].partition("=")
    end = places[0] + 1 if joined else places[0] + 2
    text = text if joined else "".join(argv[end - 1 : end])
    return _overridden(_config_of(text), [*argv[: places[0]], *argv[end:]], documented=documented)


def _config_of(text: str) -> ConfigDict:
    """What `get_config` of "FILE[:arg]" gives."""
    # A directory may have a colon in its name.
    file, colon, arg = (text, "", "") if Path(text).is_file() else text.partition(":")
    names = names_of(file)
    if "get_config" not in names:
        raise InputError(f"--config {file}: has no get_config(arg); configs/phantom.py is an example")
    with _named(file):
        config = names["get_config"](*([arg] if colon else []))
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise InputError(f"--config {file}: its get_config gives {kind}, not an ml_collections.ConfigDict")
    return config


@contextlib.contextmanager
def _named(file: str) -> Iterator[None]:
    """Whatever goes wrong in a config file, in one line with the file and, where it is known, the line."""
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # of what is an error a moment later
            yield
    except InputError:
        raise
    except OSError as error:
        other = f"{error.filename}: " if error.filename not in (None, file) else ""
        raise InputError(f"--config {file}: cannot be read ({other}{error.strerror})") from error
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else None)
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"--config {file}: {f'line {line}: ' if line else ''}{said}") from error


def _overridden(config: ConfigDict, argv: list[str], *, documented: str) -> ConfigDict:
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["medslip", *argv])
        extra = values(["medslip", *argv])[1:]
    except (KeyError, AttributeError) as error:
        # An AttributeError here has the KeyError in it, whose text may end with a suggestion in a second line.
        cause = error.args[0] if isinstance(error.args[0], KeyError) else error
        key, _, suggestion = str(cause.args[0]).partition("\n")
        said = f"{key} ({suggestion})" if suggestion else key
        raise InputError(f"the config has no key {said}; {documented} says what each is") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(" ".join(str(error).split())) from error
    if extra:
        raise InputError(f"not understood: {' '.join(extra)}; values are set with --config.key=value")
    return values.config.copy_and_resolve_references()
