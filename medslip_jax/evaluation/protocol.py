"""Evaluation protocols: what is judged, on what, with which thresholds and intervals; all of it is in the results."""

import dataclasses
from collections.abc import Mapping

from medslip_jax.errors import InputError
from medslip_jax.experiment.trees import plain, with_fields
from medslip_jax.vocabulary import PATHOLOGIES, pathology_index

THRESHOLD_SOURCES = ("validation", "fixed", "none")
SUBGROUPS = ("sex", "age_band", "view")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolData:
    """A built data set, and where it lies; "": the checkpoint's own."""

    name: str = ""
    dir: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroundingProtocol:
    """Maps against boxes and masks.

    Attributes:
      use: "boxes" (wherever the split has annotations) or "off".
      classes: (): all that are annotated.
      focal: averaged apart too; (): the checkpoint's eval.focal.
    """

    use: str = "boxes"
    classes: tuple[str, ...] = ()
    focal: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a model is judged; the defaults are those of a checkpoint on the test split of its own data.

    "", 0 and () mean what is said in brackets, and a result file has what they became.

    Attributes:
      data: what is judged on.
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
      grounding: maps against boxes and masks.
      subgroups: of `SUBGROUPS`, for data whose records have such attributes; age_band cuts the attribute "age".
      resamples, seed: of the patient-level bootstrap. bins: of the calibration.
      batch_size: (the checkpoint's). pictures: cases in heatmaps.png, 0 for none.
    """

    data: ProtocolData = ProtocolData()
    split: str = "test"
    threshold_source: str = "validation"
    threshold_split: str = "validation"
    fixed_threshold: float = 0.5
    fixed_thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    class_map: Mapping[str, str | Mapping[str, str]] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    encoder: str = ""
    prompts: str = ""
    grounding: GroundingProtocol = GroundingProtocol()
    subgroups: tuple[str, ...] = ()
    resamples: int = 1000
    seed: int = 0
    bins: int = 10
    batch_size: int = 0
    pictures: int = 12


def read_protocol(tree: Mapping) -> Protocol:
    """A protocol's tree as dataclasses. `InputError` naming the first key whose value cannot be used on any data."""
    protocol = with_fields(Protocol(), plain(tree), name="config")
    check_protocol(protocol)
    return protocol


def check_protocol(protocol: Protocol) -> None:
    """`InputError` naming the first key whose value cannot be used, whatever the data."""
    choices = {"threshold_source": THRESHOLD_SOURCES, "grounding.use": ("boxes", "off")}
    for key, allowed in choices.items():
        value = protocol.grounding.use if key == "grounding.use" else getattr(protocol, key)
        if value not in allowed:
            raise InputError(f"{key}={value!r}: must be one of {', '.join(allowed)}")
    for name in protocol.subgroups:
        if name not in SUBGROUPS:
            raise InputError(f"subgroups: {name!r} is none of {', '.join(SUBGROUPS)}")
    for key, least in {"resamples": 1, "bins": 1, "batch_size": 0, "pictures": 0, "seed": 0}.items():
        if getattr(protocol, key) < least:
            raise InputError(f"{key}={getattr(protocol, key)}: must be at least {least}")
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
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{key}={value!r}: expected a probability from 0 to 1")
    check_class_map(protocol.class_map)


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


def texts_of(protocol: Protocol) -> dict[str, str]:
    """{name: sentence} of the class map's texts that are to be reported, in its order."""
    wanted = set(protocol.classes)
    return {
        name: query["text"]
        for name, query in protocol.class_map.items()
        if isinstance(query, Mapping) and (not wanted or name in wanted)
    }


def classes_of(protocol: Protocol) -> list[str] | None:
    """Names of the pathologies to report, in vocabulary order; None for all that have labels.

    Raises:
      InputError: a name that is neither in the class map nor in the vocabulary.
    """
    mapped = {n: q for n, q in protocol.class_map.items() if not isinstance(q, Mapping)}
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
