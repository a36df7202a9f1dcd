"""What the user says about a CSV file: its columns, label names, what is annotated, splits."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from data_pipelines.datasets.building.plan import SPLITS
from data_pipelines.datasets.shared.splits import SPLIT_NAMES
from data_pipelines.images import ImagePolicy
from data_pipelines.reports import TextPolicy
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

COLUMNS = ("image", "report", "labels", "split", "patient", "boxes", "masks", "view", "sex", "age")


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """Options of a CSV + image folder; written as a JSON object with these keys, all optional.

    Attributes:
      csv: the CSV file (UTF-8, one header line), relative to the root directory.
      columns: meaning -> column name. "image" (path relative to the root) is required; "report", "labels",
        "split", "patient", "boxes", "masks", "view", "sex" (F, M, female, male) and "age" (years) are used where
        given; view, sex and age become the records' attributes, for subgroups. Without "patient" each image is its
        own patient.
      label_separator: between the labels of one cell.
      label_map: CSV label -> pathology or list of pathologies; a label that is a pathology's name (in any
        case) needs no entry. Holds for the labels of boxes and masks too.
      anatomy_map: label -> anatomy or list of anatomies: boxes and masks with that label mark the anatomy itself, such
        as "Left Lung", and say nothing of findings; in the label column such a label is ignored.
      ignored_labels: labels that have no class here.
      no_finding: the label that says that nothing was found.
      annotated_everywhere: list of {"where": {column: value}, "classes": [label or pathology]}: rows with
        those values (all rows without "where") state every one of those classes, so that one which is not
        listed is absent (0). Elsewhere what is not listed is unknown (-1), and only `no_finding` makes the
        mapped classes absent.
      split_names: value in the split column -> "train", "validation" or "test".
      split_fractions: shares of the patients, by a hash of the patient id, where there is no split column.
      views: keep only rows whose "view" is one of these (all if empty); others are listed as drops.
      size: length of the short side of the stored images in pixels.
      image_format: "jpeg" (quality 95) or "png".
      image: fields of `images.ImagePolicy` that differ from its defaults, such as {"polarity": "inverted"}.
      text: fields of `reports.TextPolicy` ("section", "uncertain") that differ from its defaults; empty texts and
        views are a matter of the CSV here.
      notes: free text for whoever reads the file.

    Raises:
      InputError: a value that is not as described; the message names the key.
    """

    csv: str = "labels.csv"
    columns: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"image": "image"})
    label_separator: str = "|"
    label_map: Mapping[str, str | list[str]] = dataclasses.field(default_factory=dict)
    anatomy_map: Mapping[str, str | list[str]] = dataclasses.field(default_factory=dict)
    ignored_labels: list[str] = dataclasses.field(default_factory=list)
    no_finding: str = "No Finding"
    annotated_everywhere: list[dict] = dataclasses.field(default_factory=list)
    split_names: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(SPLIT_NAMES))
    split_fractions: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1}
    )
    views: list[str] = dataclasses.field(default_factory=list)
    size: int = 256
    image_format: str = "jpeg"
    image: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: str = ""

    def __post_init__(self):
        for key, (fits, expected) in _EXPECTED.items():
            if not fits(getattr(self, key)):
                _fail(key, f"is {getattr(self, key)!r}; expected {expected}")
        if "image" not in self.columns or set(self.columns) - set(COLUMNS):
            _fail("columns", f"names {sorted(self.columns)}; expected 'image' and any of {', '.join(COLUMNS[1:])}")
        shares = self.split_fractions
        if set(shares) - set(SPLITS) or abs(sum(shares.values()) - 1) > 1e-6:
            _fail("split_fractions", f"is {dict(shares)}; expected shares of {', '.join(SPLITS)} that add up to 1")
        for rule in self.annotated_everywhere:
            for name in rule["classes"]:
                self.classes_of(name)
        for name in self.label_map:
            self.classes_of(name)
        for name in self.anatomy_map:
            self._check_anatomy(name)

    def classes_of(self, label: str) -> tuple[int, ...]:
        """Indices of the pathologies that a label stands for; () for an ignored, "no finding" or anatomy label.

        Raises:
          InputError: a label that is in no list and is no pathology's name.
        """
        if label in self.ignored_labels or label in self.anatomy_map or label == self.no_finding:
            return ()
        names = self.label_map.get(label, label.lower())
        names = [names] if isinstance(names, str) else names
        unknown = [name for name in names if name not in PATHOLOGIES]
        if unknown:
            lists = "label_map, anatomy_map or ignored_labels"
            raise InputError(f"label {label!r} has no class ({unknown[0]!r}); add it to {lists}")
        return tuple(PATHOLOGIES.index(name) for name in names)

    def anatomies_of(self, label: str) -> tuple[int, ...]:
        """Indices of the anatomies that a label stands for; () if it is not in `anatomy_map`."""
        names = self.anatomy_map.get(label, [])
        return tuple(ANATOMIES.index(name) for name in ([names] if isinstance(names, str) else names))

    def _check_anatomy(self, label: str) -> None:
        names = self.anatomy_map[label]
        unknown = [name for name in ([names] if isinstance(names, str) else names) if name not in ANATOMIES]
        if unknown:
            _fail("anatomy_map", f"has {label!r} -> {unknown[0]!r}, which is no anatomy of vocabulary.json")
        for key in ("label_map", "ignored_labels"):
            if label in getattr(self, key):
                _fail("anatomy_map", f"has {label!r}, which is in {key} too; remove it from one of them")

    def mapped_classes(self) -> tuple[int, ...]:
        """Every pathology that `label_map` or `annotated_everywhere` can set, in class order."""
        labels = [*self.label_map, *(name for rule in self.annotated_everywhere for name in rule["classes"])]
        return tuple(sorted({index for label in labels for index in self.classes_of(label)}))


def _is_name(value) -> bool:
    return isinstance(value, str) and value != ""


def _are_names(value) -> bool:
    return isinstance(value, list) and all(map(_is_name, value))


def _is_name_or_names(value) -> bool:
    return _is_name(value) or (_are_names(value) and value != [])


def _name_to(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(_is_name, value)) and all(map(check, value.values()))


def _is_rule(value) -> bool:
    return (
        isinstance(value, dict)
        and not set(value) - {"where", "classes"}
        and bool(value.get("classes"))
        and _are_names(value["classes"])
        and _name_to(lambda wanted: isinstance(wanted, str))(value.get("where", {}))
    )


def _is_policy(value, policy: type, allowed: tuple[str, ...]) -> bool:
    """Whether a policy can be made of it; a value outside of a field's choices raises the policy's own error."""
    return isinstance(value, Mapping) and set(value) <= set(allowed) and policy(**value) is not None


IMAGE_FIELDS = tuple(field.name for field in dataclasses.fields(ImagePolicy))
TEXT_FIELDS = ("section", "uncertain")
# field -> what its value must satisfy, and in words
_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "csv": (_is_name, "the name of a file"),
    "columns": (_name_to(_is_name), "an object of column names"),
    "label_separator": (_is_name, "one or more characters"),
    "label_map": (
        _name_to(_is_name_or_names),
        "an object of pathologies or lists of pathologies (a label without any belongs to ignored_labels)",
    ),
    "anatomy_map": (_name_to(_is_name_or_names), "an object of anatomies or lists of anatomies"),
    "ignored_labels": (_are_names, "a list of labels"),
    "no_finding": (lambda value: isinstance(value, str), "text"),
    "annotated_everywhere": (
        lambda value: isinstance(value, list) and all(map(_is_rule, value)),
        "a list of {'where': {column: text}, 'classes': [label or pathology, ...]}",
    ),
    "split_names": (
        _name_to(lambda value: isinstance(value, str) and value in SPLITS),
        f"an object of splits, each one of {', '.join(SPLITS)}",
    ),
    "split_fractions": (
        _name_to(lambda value: type(value) in (int, float) and 0 <= value <= 1),
        "an object of shares between 0 and 1",
    ),
    "views": (_are_names, "a list of views"),
    "size": (lambda value: type(value) is int and value >= 32, "a whole number of pixels, at least 32"),
    "image_format": (lambda value: value in ("jpeg", "png"), "'jpeg' or 'png'"),
    "image": (lambda value: _is_policy(value, ImagePolicy, IMAGE_FIELDS), f"an object of {', '.join(IMAGE_FIELDS)}"),
    "text": (lambda value: _is_policy(value, TextPolicy, TEXT_FIELDS), f"an object of {', '.join(TEXT_FIELDS)}"),
    "notes": (lambda value: isinstance(value, str), "text"),
}


def _fail(key: str, what: str) -> None:
    raise InputError(f"folder option {key}: {what}")
