"""A model that travels: weights, config, text tables and what is known of them; read from every form it comes in.

The numbered order of `load`: find the source, read its tensors, settle the config, match strictly, refuse NaN, find the
text tables, describe.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import jax
import numpy as np
from jaxtyping import Array, UInt8

from medslip_jax.checkpoints import find_checkpoint, read_config, read_info, read_variables
from medslip_jax.errors import InputError
from medslip_jax.experiment.sections import UNKNOWN_BOOKS, BooksConfig, Experiment
from medslip_jax.experiment.tables import checked_tables
from medslip_jax.experiment.trees import differences, tree_of
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.folding import fold
from medslip_jax.models.kinds import ModelConfig, config_from_fields, fields_of, kind_of
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import normalise
from medslip_jax.storage.files import tree_hash
from medslip_jax.storage.hub import fetch_weights, looks_like_hub_id
from medslip_jax.storage.matching import MatchReport, check_finite, shapes_of
from medslip_jax.storage.tensor_files import PRETRAINED_WEIGHTS, READ_SUFFIXES, books_file, info_file
from medslip_jax.storage.tensor_files import read_info as read_side_info
from medslip_jax.storage.tensor_reading import canonical, read_state, weights_hash, weights_in
from medslip_jax.text.books import TextBooks, books_hash, load_books, shipped_books
from medslip_jax.weights.bundle import ModelBundle, describe
from medslip_jax.weights.saving import save_pretrained
from medslip_jax.weights.torch.config import infer_config
from medslip_jax.weights.torch.conversion import counters, flatten, from_torch, match_state
from medslip_jax.weights.transfer import fit

# Fields of a model's config that leave trained weights their meaning.
TRAINING_ONLY = ("dropout", "linear_init", "dtype", "remat")


class Pretrained(ModelBundle):
    """A bundle that runs and saves itself.

    Example:
      pretrained = MeDSLIP.from_pretrained("runs/a")
      out = pretrained(images)  # uint8 b h w -> what the module returns
      jax.nn.softmax(out["pathology"]["logits"])[..., 1]

    `variables` are those of training, to go on from or to convert. The first call puts folded ones (`models.folding`)
    on the device and keeps them; other weights make another bundle: `dataclasses.replace(pretrained, variables=new)`.
    """

    def __call__(self, image: UInt8[Array, "b h w"]) -> dict | Array:
        """Grey uint8 images -> the module's outputs; compiled once a shape. `InputError` for other dtypes."""
        if image.dtype != np.uint8:  # floats would be scaled twice without a word
            raise InputError(f"images are {image.dtype}, expected uint8: grey, 0 to 255, not yet scaled or normalised")
        return self._apply(self._folded, image, *self.inputs)

    @functools.cached_property
    def _folded(self) -> dict:
        return jax.device_put(fold(self.variables))

    @functools.cached_property
    def _apply(self) -> Callable:
        module = self.module
        return jax.jit(lambda variables, image, *books: module.apply(variables, normalise(image), *books))

    def save_pretrained(self, directory: str | Path, *, license: str, metrics: Mapping | None = None) -> None:
        """As `MeDSLIP.save_pretrained`, which see."""
        save_pretrained(self, directory, license=license, metrics=metrics)


class Loaded(TypedDict):
    """`left_out`: names beside the state_dict; `assumed`: {field: value} that a bare state_dict does not show."""

    pretrained: Pretrained
    report: MatchReport
    left_out: list[str]
    assumed: dict


def load(
    where: str | Path,
    *,
    kind: str | None = None,
    expected: Experiment | None = None,
    books: str | Path | None = None,
    excuse: Iterable[str] = (),
) -> Loaded:
    """Reads a model from wherever it is.

    Args:
      where: a file of PyTorch or safetensors under any name, an index of several, a directory of `save_pretrained`, a
        run or a checkpoint directory, or a hub id owner/name[@revision][/FILE].
      kind: that it must be, "medslip", "classifier" or "segmenter"; None for any.
      expected: the experiment whose model it must be; settles what a bare state_dict does not show.
      books: text tables to go with it, in place of those found beside it.
      excuse: PyTorch names (leaf paths of a checkpoint directory) that need not fit; `*` for any part.

    Raises:
      InputError: nothing there, damaged, of another kind or architecture, NaN inside; one line names it.
    """
    path = locate(where)
    read = _read_orbax if path.is_dir() else _read_weights
    found = read(path, expected=expected, books=books, excuse=tuple(excuse))
    pretrained, have = found["pretrained"], kind_of(found["pretrained"].config)
    if not Path(where).exists():
        pretrained.info["source"]["hub"] = str(where)
    if books is not None and have != "medslip":
        raise InputError(f"{where}: holds a {have}, which reads no text tables; leave {books} out")
    if kind is not None and have != kind:
        raise InputError(f"{where}: holds a {have}, but a {kind} is expected here")
    check_finite({k: np.asarray(v) for k, v in flatten(pretrained.variables).items()}, where=str(where))
    return found


def locate(where: str | Path) -> Path:
    """The weights file or checkpoint directory that `where` means; a hub id is fetched."""
    path = Path(where)
    if path.is_dir():
        weights = path / PRETRAINED_WEIGHTS
        return weights if weights.is_file() else _in_directory(path)
    if path.is_file():
        return path
    text = str(where)
    # A repository is hardly called "x.pth": with one slash it is a file that is not there.
    if (
        (path.suffix.lower() in READ_SUFFIXES and not (looks_like_hub_id(text) and text.count("/") > 1))
        or path.is_absolute()
        or text.startswith((".", "~"))
    ):
        raise InputError(f"{where}: no such file or directory")
    return fetch_weights(text)


def _in_directory(path: Path) -> Path:
    """Its checkpoint, else its weights: a run may have been exported into its own directory."""
    try:
        return find_checkpoint(path)
    except InputError:
        if weights := weights_in(path):
            return weights
        raise


def _read_weights(path: Path, *, expected: Experiment | None, books: str | Path | None, excuse: tuple) -> Loaded:
    """A state_dict with its side files."""
    content = read_state(path)
    try:
        state = canonical(content["state"])
        info = read_side_info(path)
        digest = weights_hash(path)
        if info.get("weights_sha256", digest) != digest:
            raise InputError(f"{info_file(path)}: describes another {path.name}; remove it or convert again")
        settled = _settle(path, shapes_of(state), info=info, expected=expected)
        config = settled["config"]
        report = match_state(state, config, excuse=excuse)
        if excuse and not report.loaded:
            raise InputError("not one tensor fits the model; excuse fewer names")
        variables = from_torch(state, config, excuse=excuse)
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from error
    beside = books_file(path)
    tables = _books(books or (beside if beside.is_file() else None), config)
    if books is None and tables is not None:
        wanted = info.get("books", {}).get("sha256", "")
        if wanted not in ("", books_hash(tables)):
            raise InputError(f"{beside}: not the text tables that {path.name} was written with; convert again")
    tracked = counters(state)
    same = set(tracked.values())
    description = describe(
        config,
        experiment=info.get("experiment") if expected is None else tree_of(expected),
        books=tables,
        source={"name": path.name, "sha256": digest},
        inherited=info,
    ) | {"num_batches_tracked": same.pop() if len(same) == 1 else tracked, "excused": _excused(report, info)}
    description["assumed"] = settled["assumed"]
    return {
        "pretrained": Pretrained(config, variables, tables, description),
        "report": report,
        "left_out": content["left_out"],
        "assumed": settled["assumed"],
    }


def _settle(path: Path, shapes: Mapping, *, info: Mapping, expected: Experiment | None) -> dict:
    """{"config", "assumed"}: from the caller's experiment, else the side file, else the tensors themselves."""
    assumed = info.get("assumed", {})
    stated = config_from_fields(info.get("kind", "medslip"), info["model"]) if info.get("model") else None
    if expected is None:
        return {"config": stated, "assumed": assumed} if stated else infer_config(shapes, where=str(path))
    if stated is not None:
        _check_same_model(stated, expected.model, assumed=assumed, where=info_file(path))
    return {"config": expected.model, "assumed": {}}


def _check_same_model(stated: ModelConfig, expected: ModelConfig, *, assumed: Mapping, where: Path) -> None:
    """`InputError` if `expected` describes other weights than `stated`; what was only assumed may be put right."""
    free = {f"model.{field}" for field in (*assumed, *TRAINING_ONLY)}
    lines = differences(fields_of(stated), fields_of(expected), prefix="model.")
    wrong = [line for line in lines if line.split(":")[0] not in free]
    if wrong:
        raise InputError(f"{where}: not the model of --config: {'; '.join(wrong)}")


def _read_orbax(path: Path, *, expected: Experiment | None, books: str | Path | None, excuse: tuple) -> Loaded:
    """A run's checkpoint, or a converted one."""
    settings, info = read_config(path), read_info(path)
    config = config_from_fields(settings.get("kind", "medslip"), settings["model"])
    if expected is not None:
        _check_same_model(config, expected.model, assumed=info.get("assumed", {}), where=path)
        config = expected.model
    variables = jax.tree.map(np.asarray, read_variables(path, sharding=sharding.replicated(sharding.make_mesh())))
    try:
        fitted = fit(variables, config, excuse=excuse)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    stated = BooksConfig(**settings["books"])
    unknown = stated.sha256 == UNKNOWN_BOOKS
    # A run without a path to tables has read the shipped ones; a converted checkpoint may know of none.
    tables = _books(books or stated.path or (None if unknown else str(shipped_books())), config)
    # Tables that the caller gives are new knowledge if nobody knew them.
    if tables is not None and isinstance(config, MeDSLIPConfig) and not (books and unknown):
        checked_tables(tables, stated, text_dim=config.text_dim)
    # The directory of a run's checkpoint is its step, which is how many batches its statistics have seen.
    step = int(path.name) if path.name.isdigit() else None
    source = {"name": "/".join(path.parts[-3:]), "sha256": tree_hash(path / "model")} | ({"step": step} if step else {})
    # A converted checkpoint of a bare state_dict has a default experiment around its model, which nobody ran.
    known = settings if info.get("experiment", True) else None
    description = describe(config, experiment=known, books=tables, source=source, inherited=info)
    tracked = info.get("num_batches_tracked", step or 0)
    description |= {"num_batches_tracked": tracked, "excused": _excused(fitted["report"], info)}
    return {
        "pretrained": Pretrained(config, fitted["variables"], tables, description),
        "report": fitted["report"],
        "left_out": [],
        "assumed": {},
    }


def _excused(report: MatchReport, info: Mapping) -> list[str]:
    """Names that did not fit, now or in an earlier conversion."""
    return sorted(report.excused | set(info.get("excused", [])))


def _books(path: str | Path | None, config: ModelConfig) -> TextBooks | None:
    """The text tables at `path` for a pre-training model, None without a path or for another kind."""
    if path is None or not isinstance(config, MeDSLIPConfig):
        return None
    tables = load_books(path)
    if tables.width != config.text_dim:
        raise InputError(f"{path}: tables {tables.width} wide, but the model's text_dim is {config.text_dim}")
    return tables
