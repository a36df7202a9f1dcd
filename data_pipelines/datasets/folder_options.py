"""What the user says about a CSV file: its columns, label names, what is annotated, splits."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.vocabulary import PATHOLOGIES

COLUMNS = ("image", "report", "labels", "split", "patient", "boxes", "masks", "view")
SPLITS = ("train", "validation", "test")
# What the builder does with a row whose image or mask cannot be read.
POLICIES = ("skip", "fail")


@dataclasses.dataclass(frozen=True)
class FolderOptions:
    """Options of a CSV + image folder; written as a JSON object with these keys, all optional.

    Attributes:
      csv: the CSV file (UTF-8, one header line), relative to the root directory.
      columns: meaning -> column name. "image" (path relative to the root) is required; "report", "labels",
        "split", "patient", "boxes", "masks" and "view" are used where given. Without "patient" each image is
        its own patient.
      label_separator: between the labels of one cell.
      label_map: CSV label -> pathology or list of pathologies; a label that is a pathology's name (in any
        case) needs no entry. Holds for the labels of boxes and masks too.
      ignored_labels: labels that have no class here, such as the organs of a segmentation.
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
      sixteen_bit: "full" or "stretch", see `images.read_grey`.
      notes: free text for whoever reads the file.
    """

    csv: str = "labels.csv"
    columns: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"image": "image"})
    label_separator: str = "|"
    label_map: Mapping[str, str | list[str]] = dataclasses.field(default_factory=dict)
    ignored_labels: list[str] = dataclasses.field(default_factory=list)
    no_finding: str = "No Finding"
    annotated_everywhere: list[dict] = dataclasses.field(default_factory=list)
    split_names: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {name: name for name in SPLITS} | {"val": "validation", "valid": "validation"}
    )
    split_fractions: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1}
    )
    views: list[str] = dataclasses.field(default_factory=list)
    size: int = 256
    image_format: str = "jpeg"
    sixteen_bit: str = "full"
    notes: str = ""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, _KINDS.get(field.name, str)):
                _fail(field.name, f"has the wrong type, {type(value).__name__}")
        if "image" not in self.columns or set(self.columns) - set(COLUMNS):
            _fail(
                "columns",
                f"names {sorted(self.columns)}; expected 'image' and any of {', '.join(COLUMNS[1:])}",
            )
        if self.image_format not in ("jpeg", "png") or self.sixteen_bit not in ("full", "stretch"):
            _fail("image_format / sixteen_bit", "expected jpeg or png / full or stretch")
        if self.size < 32:
            _fail("size", f"is {self.size}; expected at least 32 pixels")
        if set(self.split_names.values()) - set(SPLITS) or set(self.split_fractions) - set(SPLITS):
            _fail("split_names / split_fractions", f"expected the splits {', '.join(SPLITS)}")
        if abs(sum(self.split_fractions.values()) - 1) > 1e-6 or min(self.split_fractions.values()) < 0:
            _fail("split_fractions", f"are {dict(self.split_fractions)}; expected shares that add up to 1")
        for rule in self.annotated_everywhere:
            if not isinstance(rule, dict) or "classes" not in rule or set(rule) - {"where", "classes"}:
                _fail("annotated_everywhere", f"has {rule!r}; expected {{'where': {{...}}, 'classes': [...]}}")
            for name in rule["classes"]:
                self.classes_of(name)
        for name in self.label_map:
            self.classes_of(name)

    def classes_of(self, label: str) -> tuple[int, ...]:
        """Indices of the pathologies that a label stands for; () for an ignored or "no finding" label.

        Raises:
          InputError: a label that is in no list and is no pathology's name.
        """
        if label in self.ignored_labels or label == self.no_finding:
            return ()
        names = self.label_map.get(label, label.lower())
        names = [names] if isinstance(names, str) else names
        unknown = [name for name in names if name not in PATHOLOGIES]
        if unknown:
            raise InputError(f"label {label!r} has no class ({unknown[0]!r}); add it to label_map or ignored_labels")
        return tuple(PATHOLOGIES.index(name) for name in names)

    def mapped_classes(self) -> tuple[int, ...]:
        """Every pathology that `label_map` or `annotated_everywhere` can set, in class order."""
        labels = [*self.label_map, *(name for rule in self.annotated_everywhere for name in rule["classes"])]
        return tuple(sorted({index for label in labels for index in self.classes_of(label)}))


_KINDS = {
    "columns": Mapping,
    "label_map": Mapping,
    "ignored_labels": list,
    "annotated_everywhere": list,
    "split_names": Mapping,
    "split_fractions": Mapping,
    "views": list,
    "size": int,
}


def _fail(key: str, what: str) -> None:
    raise InputError(f"folder option {key}: {what}")


def read_options(path: str | Path) -> dict:
    """A JSON file of options -> dict; `InputError` naming the file if it is missing or not a JSON object."""
    try:
        options = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the options ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(options, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(options).__name__}")
    return options
