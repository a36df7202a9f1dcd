"""The two files of a result, metrics.json and predictions.npz: how numbers are written, and the one reader of both."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.storage.arrays import read_arrays
from medslip_jax.storage.files import file_hash, write_bytes

# Section of metrics.json -> its arrays in predictions.npz: names, scores, labels.
SECTIONS = {
    "pathology": ("pathology_names", "pathology", "labels"),
    "targets": ("target_names", "extra", "targets"),
}
_DIGITS, _WIDTH = 6, 400
_ALWAYS = ("image_id", "patient_id", "index")
# Key of metrics.json with the hashes of itself without it and of predictions.npz.
_SEAL = "sha256"


@dataclasses.dataclass(frozen=True)
class Judged:
    """Judged classes: their names, scores float (n, k) and labels int (n, k), -1 for unknown."""

    names: list[str]
    scores: np.ndarray
    labels: np.ndarray

    def chosen(self, names: Sequence[str], *, rows: np.ndarray | slice = slice(None)) -> "Judged":
        """These classes of these rows."""
        columns = [self.names.index(name) for name in names]
        return Judged(list(names), self.scores[rows][:, columns], self.labels[rows][:, columns])


@dataclasses.dataclass(frozen=True)
class Results:
    """What `medslip evaluate` or `medslip finetune` left: `metrics` of metrics.json, `arrays` of predictions.npz.

    `sealed` says that both files are as they were written, by their hashes; files without hashes may lack anything.
    """

    path: str
    metrics: Mapping
    arrays: Mapping[str, np.ndarray]
    sealed: bool = False

    @property
    def sections(self) -> list[str]:
        """Those of `SECTIONS` that were judged: pathologies, then queries given as text."""
        return [name for name in SECTIONS if name in self.metrics["classification"]]

    def report(self, section: str) -> Mapping:
        """The `classification_report` of a section."""
        return self.metrics["classification"][section]["report"]

    def judged(self, section: str) -> Judged:
        """Scores and labels of the classes of a section's report, in its order."""
        names, scores, labels = (self.arrays[key] for key in SECTIONS[section])
        return Judged(names.tolist(), scores, labels).chosen(self.report(section)["classes"])


def read_results(where: str | Path, *, missing: str = "") -> Results:
    """Reads and checks a directory of results, or the metrics.json in one.

    Args:
      where: the directory or its metrics.json.
      missing: what to do if a file is not there; by default the command that writes it.

    Raises:
      InputError: a file is missing, damaged, changed, of another evaluation than the other one, or holds no
        classification.
    """
    path = Path(where)
    directory = path.parent if path.name == "metrics.json" else path
    metrics, predictions = directory / "metrics.json", directory / "predictions.npz"
    for file in (metrics, predictions):
        if not file.is_file():
            raise InputError(f"{file}: no such file; {missing or f'`medslip evaluate --out {directory}` writes it'}")
    content, seal = _read_metrics(metrics), None
    if _SEAL in content:
        seal = {"predictions.npz": file_hash(predictions), "metrics": _content_hash(content)}
        differing = [
            name for name in seal if not isinstance(content[_SEAL], dict) or content[_SEAL].get(name) != seal[name]
        ]
        if differing:
            changed = predictions if differing == ["predictions.npz"] else metrics
            raise InputError(f"{changed}: not as it was written (another sha256); evaluate again")
    arrays = read_arrays(predictions, repair="evaluate again")
    results = Results(str(where), content, arrays, sealed=seal is not None)
    _check_arrays(predictions, results)
    return results


def write_metrics(out: Path, metrics: Mapping) -> dict:
    """Writes metrics.json beside the predictions.npz that is there, with the hashes of both; returns what it holds."""
    content = {key: value for key, value in metrics.items() if key != _SEAL}
    plain = json.loads(json_bytes(content))
    seal = {"predictions.npz": file_hash(out / "predictions.npz"), "metrics": _content_hash(plain)}
    write_bytes(out / "metrics.json", json_bytes(content | {_SEAL: seal}))
    return content | {_SEAL: seal}


def _content_hash(metrics: Mapping) -> str:
    content = {key: value for key, value in metrics.items() if key != _SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def reading(*results: Results) -> Iterator[None]:
    """Around what takes numbers out of results: where files without hashes lack some, the files are at fault.

    Raises:
      InputError: a number is not there or none.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, ArithmeticError) as error:
        foreign = [result.path for result in results if not result.sealed]
        if isinstance(error, InputError) or not foreign:
            raise
        raise InputError(
            f"{foreign[0]}: not as `medslip evaluate` writes it ({_short(error)}); evaluate again"
        ) from error


def ids_hash(arrays: Mapping) -> str:
    """sha256 of the image ids in order: two results are comparable if theirs agree."""
    return hashlib.sha256("\n".join(arrays["image_id"]).encode()).hexdigest()


def round_numbers(value):
    """JSON with its floats at 6 significant digits, which is more than any interval of them resolves.

    Thresholds stay as they are: one is a score of some image, and a digit less would decide that image otherwise.
    """
    if isinstance(value, Mapping):
        return {key: inner if key == "threshold" else round_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [round_numbers(inner) for inner in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def json_bytes(value: Mapping) -> bytes:
    """JSON in which an object or a list without further ones in it takes one line, if that is not too long."""
    return ("\n".join(_lines(value, indent=0)) + "\n").encode()


def _lines(value, *, indent: int) -> Iterator[str]:
    nested = isinstance(value, Mapping | list | tuple)
    inner = list(value.values()) if isinstance(value, Mapping) else list(value) if nested else []
    if not any(isinstance(one, Mapping | list | tuple) and one for one in inner):
        line = json.dumps(value, allow_nan=False)
        if not nested or len(line) <= _WIDTH:
            yield " " * indent + line
            return
    heads = [f"{json.dumps(str(key))}: " for key in value] if isinstance(value, Mapping) else [""] * len(inner)
    first, last = "{}" if isinstance(value, Mapping) else "[]"
    yield " " * indent + first
    for number, (head, one) in enumerate(zip(heads, inner, strict=True), start=1):
        lines = list(_lines(one, indent=indent + 1))
        lines[0] = " " * (indent + 1) + head + lines[0].lstrip()
        yield from lines[:-1]
        yield lines[-1] + ("," if number < len(inner) else "")
    yield " " * indent + last


def _read_metrics(file: Path) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if "classification" not in content and "segmentation" in content:
            raise InputError(f"{file}: results of a segmenter have areas of masks and no probabilities to work on")
        reports = [content["classification"][name]["report"] for name in SECTIONS if name in content["classification"]]
        known = bool(reports) and all(isinstance(report["classes"], dict) for report in reports)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a result of `medslip evaluate` ({_short(error)}); evaluate again") from error
    if not known:
        raise InputError(f"{file}: not a result of `medslip evaluate`; evaluate again")
    return content


def _check_arrays(file: Path, results: Results) -> None:
    """The arrays are those of metrics.json: all there, of one length, finite, of the same images and classes."""
    arrays, keys = results.arrays, [key for name in results.sections for key in SECTIONS[name]]
    lacking = [key for key in (*_ALWAYS, *keys) if key not in arrays]
    if lacking:
        raise InputError(f"{file}: has no array {lacking[0]!r}; evaluate again")
    images = len(arrays["image_id"])
    for section in results.sections:
        names, scores, labels = (arrays[key] for key in SECTIONS[section])
        if not images or not scores.shape == labels.shape == (images, len(names)):
            raise InputError(f"{file}: its arrays do not fit each other; evaluate again")
        if not np.isfinite(scores).all():
            raise InputError(f"{file}: holds probabilities that are not finite; evaluate again")
        unknown = set(results.report(section)["classes"]) - set(names.tolist())
        if unknown:
            raise InputError(f"{file}: has no scores of {min(unknown)}, which metrics.json judges; evaluate again")
    if (results.metrics.get("data") or {}).get("ids_sha256") != ids_hash(arrays):
        raise InputError(f"{file}: other images than those of metrics.json beside it; evaluate again")


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
