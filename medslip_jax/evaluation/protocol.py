"""Evaluation protocols: what is judged, on what, with which thresholds and intervals. All of it is in the result file.

A protocol file (configs/eval) has `get_config(arg)`, which starts from `default_protocol()` and changes what differs.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.datasets import BUILDERS
from medslip_jax.errors import InputError
from medslip_jax.experiment.config import load_config
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index

THRESHOLD_SOURCES = ("validation", "fixed", "none")
SUBGROUPS = ("sex", "age_band", "view")
# Flags of `medslip evaluate` that stand for a key, so that the common ones need no --config.x.y=.
FLAGS = {
    "data": "data.name",
    "data_dir": "data.dir",
    "split": "split",
    "threshold_split": "threshold_split",
    "resamples": "resamples",
    "batch_size": "batch_size",
    "pictures": "pictures",
    "encoder": "encoder",
}


def default_protocol() -> ConfigDict:
    """The protocol of a checkpoint on the test split of its own data.

    Keys; "" , 0 and () mean what is said in brackets, and a result file has what they became:
      data.name, data.dir: a built data set and where it lies (the checkpoint's own).
      split: what is judged. threshold_split: where validation thresholds come from; never the judged split.
      threshold_source: "validation" (thresholds of the best F1 on threshold_split, and the fixed one beside them),
        "fixed" (threshold_split is not read) or "none". The test-oracle is always reported and always called so.
      fixed_threshold: of the probability of presence; fixed_thresholds: {class: threshold} that differ from it.
      class_map: {name in the data set: query}, a query being a class of the vocabulary or {"text": a sentence}, which
        is encoded as a further query. The truth of a text is the records' target of that name, or the labels of the
        class of that name; that of a class are its labels. ({}: every class that has labels, under its own name.)
      classes: those to report, names of the data set or of the vocabulary (all that have labels).
      encoder: the BERT for texts: a directory, package:NAME/DIR or hub id (the one that wrote the text tables).
      prompts: the JSON file of prompts that the text tables were made from, so that results can quote them (this
        project's own).
      grounding.use: "boxes" (wherever the split has annotations) or "off".
      grounding.classes: (all that are annotated). grounding.focal: averaged apart too (the checkpoint's eval.focal).
      subgroups: of `SUBGROUPS`, for data whose records have such attributes; age_band cuts the attribute "age".
      resamples, seed: of the patient-level bootstrap. bins: of the calibration.
      batch_size: (the checkpoint's). pictures: cases in heatmaps.png, 0 for none.
    """
    return ConfigDict(
        {
            "data": {"name": "", "dir": ""},
            "split": "test",
            "threshold_source": "validation",
            "threshold_split": "validation",
            "fixed_threshold": 0.5,
            "fixed_thresholds": {},
            "class_map": {},
            "classes": (),
            "encoder": "",
            "prompts": "",
            "grounding": {"use": "boxes", "classes": (), "focal": ()},
            "subgroups": (),
            "resamples": 1000,
            "seed": 0,
            "bins": 10,
            "batch_size": 0,
            "pictures": 12,
        }
    )


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
    check_protocol(protocol)
    return protocol


def get_config(arg: str | None = None) -> ConfigDict:
    """What a protocol file gives; this file is the default one."""
    if arg:
        raise InputError(f"the default protocol takes no argument, got {arg!r}")
    return default_protocol()


def check_protocol(protocol: ConfigDict) -> None:
    """`InputError` naming the first key whose value cannot be used, whatever the data."""
    _check_is_protocol(protocol)
    choices = {"threshold_source": THRESHOLD_SOURCES, "grounding.use": ("boxes", "off")}
    for key, allowed in choices.items():
        value = protocol.grounding.use if key == "grounding.use" else protocol[key]
        if value not in allowed:
            raise InputError(f"{key}={value!r}: must be one of {', '.join(allowed)}")
    for name in protocol.subgroups:
        if name not in SUBGROUPS:
            raise InputError(f"subgroups: {name!r} is none of {', '.join(SUBGROUPS)}")
    for key, least in {"resamples": 1, "bins": 1, "batch_size": 0, "pictures": 0, "seed": 0}.items():
        if protocol[key] < least:
            raise InputError(f"{key}={protocol[key]}: must be at least {least}")
    if protocol.threshold_source == "validation":
        if not protocol.threshold_split:
            raise InputError('threshold_split is empty; name a split, or set threshold_source to "fixed" or "none"')
        if protocol.threshold_split == protocol.split:
            raise InputError(
                f"--threshold_split {protocol.split} is the judged split; give another or --threshold_split ''"
            )
    thresholds = {"fixed_threshold": protocol.fixed_threshold} | {
        f"fixed_thresholds.{name}": value for name, value in protocol.fixed_thresholds.items()
    }
    for key, value in thresholds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 or math.isnan(value):
            raise InputError(f"{key}={value!r}: expected a probability from 0 to 1")
    check_class_map(protocol.class_map.to_dict())


def check_class_map(class_map: Mapping) -> None:
    """`InputError` unless every name maps to a class of the vocabulary, each to another one, or to a text."""
    taken: dict[str, str] = {}
    for name, query in class_map.items():
        if isinstance(query, Mapping):
            if set(query) != {"text"} or not isinstance(query["text"], str) or not query["text"].strip():
                raise InputError(f"class_map.{name}: expected {{'text': a sentence}} or a class of the vocabulary")
        elif query not in PATHOLOGIES:
            raise InputError(
                f"class_map.{name}={query!r}: no class of the vocabulary; give one, or {{'text': a sentence}}"
            )
        elif taken.setdefault(query, name) != name:
            raise InputError(f"class_map: {taken[query]} and {name} both map to {query}; its labels are one column")


def texts_of(protocol: ConfigDict) -> dict[str, str]:
    """{name: sentence} of the class map's texts that are to be reported, in its order."""
    wanted = set(protocol.classes)
    return {
        name: query["text"]
        for name, query in protocol.class_map.to_dict().items()
        if isinstance(query, Mapping) and (not wanted or name in wanted)
    }


def classes_of(protocol: ConfigDict) -> list[str] | None:
    """Names of the pathologies to report, in vocabulary order; None for all that have labels.

    Raises:
      InputError: a name that is neither in the class map nor in the vocabulary.
    """
    mapped = {n: q for n, q in protocol.class_map.to_dict().items() if not isinstance(q, Mapping)}
    texts = set(protocol.class_map) - set(mapped)
    if not protocol.classes:
        return sorted(mapped.values(), key=pathology_index) if protocol.class_map else None
    chosen = set()
    for name in protocol.classes:
        query = mapped.get(name, name)
        if name in texts:
            continue
        if query not in PATHOLOGIES or (protocol.class_map and query not in mapped.values()):
            known = ", ".join(protocol.class_map) or "the vocabulary"
            raise InputError(f"classes: {name!r} is no class of this protocol; it has: {known}")
        chosen.add(query)
    return sorted(chosen, key=pathology_index)


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
