"""The readers that are tried, by kind of input: each takes a directory with an input's files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import logging

from data_pipelines import images, radgraph, reports
from data_pipelines.datasets import builder_class, options_of
from data_pipelines.images import patient_tags
from data_pipelines.radgraph import iter_label_matrices
from data_pipelines.reports import read_reports
from medslip_jax.errors import InputError
from medslip_jax.evaluation import compare, read_results
from medslip_jax.experiment import load_config, read
from medslip_jax.report.run.page import page
from medslip_jax.report.run.reading import read_run
from medslip_jax.storage.tensor_reading import read_state
from medslip_jax.text.books import load_books
from medslip_jax.weights.loading import load

# As every verb does.
logging.set_verbosity(logging.ERROR)


@dataclasses.dataclass(frozen=True)
class Kind:
    """`read` of the seeds below `seeds`; `batch` inputs share a process; messages name a file, or else a `key`."""

    seeds: str
    read: Callable[[Path], object]
    batch: int = 100
    key: str = r"(?!)"


def _only(place: Path) -> Path:
    return next(path for path in place.iterdir())


def _image(place: Path) -> None:
    path = _only(place)
    found = images.read_image(path).grey
    assert found.dtype == np.uint8 and found.ndim == 2 and found.size, found.shape


def _dicom(place: Path) -> None:
    _image(place)
    patient_tags(_only(place))


def _report(place: Path) -> None:
    text = _only(place).read_bytes().decode(errors="replace")
    ids, matrices = radgraph.label_matrices({"a": reports.extract(text)})
    assert np.isin(matrices, (-1, 0, 1)).all() and len(ids) <= 1


def _radgraph(place: Path) -> None:
    for _, matrix in iter_label_matrices(_only(place), skipped=radgraph.Skipped()):
        assert np.isin(matrix, (-1, 0, 1)).all()


def _folder(place: Path) -> None:
    options = options_of("folder", file=place / "options.json", given={})
    builder_class("folder").plan(root=place, options=options, policy="skip")


def _xml(place: Path) -> None:
    for report in read_reports(place):
        assert isinstance(report.text, str)


def _archive(place: Path) -> None:
    list(read_reports(_only(place)))


def _weights(place: Path) -> None:
    for array in read_state(_only(place))["state"].values():
        assert isinstance(array, np.ndarray)


def _books(place: Path) -> None:
    assert np.isfinite(load_books(_only(place)).pathology).all()


def _config(place: Path) -> None:
    read(load_config([f"--config={_only(place)}:tiny"]))


def _results(place: Path) -> None:
    where = place / "results"
    read_results(where)
    compare(where, where, resamples=5)
    try:
        contents = read_run(place, results=where, cases=0)
    except InputError:
        return  # the folder is no run
    page(contents)


def _checkpoint(place: Path) -> None:
    """Refused, or read as what was written: its sum is as in the file beside it."""
    import jax

    found = load(place / "run")["pretrained"].variables
    total = float(sum(np.abs(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(found)))
    assert total == float((place / "sum.txt").read_text()), "read as another model"


KINDS = {
    "DICOM": Kind("dicom", _dicom),
    "PNG, JPEG": Kind("picture", _image),
    "report text": Kind("report", _report),
    "report XML": Kind("xml", _xml),
    "report archive": Kind("archive", _archive),
    "RadGraph JSON": Kind("radgraph", _radgraph),
    "folder CSV, options": Kind("csv", _folder),
    ".pth, safetensors": Kind("weights", _weights),
    "text tables": Kind("books", _books),
    "config file": Kind("config", _config, key=r"\bconfig\b|\b[a-z]+\.[a-z_]+="),
    "result files": Kind("results", _results, batch=40),
    "checkpoint of a run": Kind("checkpoint", _checkpoint, batch=20),
}
