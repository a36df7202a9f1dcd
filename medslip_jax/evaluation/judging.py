"""A model over the splits that a protocol names: what is loaded, which queries it gets, and its scores."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from data_pipelines.datasets import RecordSource, open_split
from data_pipelines.loading import Loader, NoSharedMemory
from medslip_jax.checkpoints import find_checkpoint
from medslip_jax.errors import InputError
from medslip_jax.evaluation import zero_shot
from medslip_jax.evaluation.grounding_cases import annotated
from medslip_jax.evaluation.protocol import Protocol, ProtocolData, check_protocol, classes_of, texts_of
from medslip_jax.evaluation.scoring import jit_score_step, score
from medslip_jax.experiment.sections import OptimConfig, Pretraining
from medslip_jax.experiment.tables import built_data
from medslip_jax.experiment.trees import read_as
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.folding import fold
from medslip_jax.models.kinds import kind_of
from medslip_jax.parallel import sharding
from medslip_jax.step.train_step import Trainer
from medslip_jax.text import user_queries
from medslip_jax.text.books import TextBooks
from medslip_jax.text.encoder import MAX_LENGTH, load_encoder
from medslip_jax.training.setup import loader_options
from medslip_jax.vocabulary import PATHOLOGIES, anatomy_index, pathology_index
from medslip_jax.weights.loading import Pretrained, load


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What is judged: everything that `metrics.json` has to say about how.

    Attributes:
      pretrained: the model.
      protocol: without gaps, see `resolved`.
      source, validation: the judged split and the one that thresholds come from, or None.
      texts: {name: sentence} of the queries given as text; rows: float32 (k, T) of them, prepared, or None.
      map_classes: names of the pathologies whose maps are judged; map_anatomies: of the anatomies marked themselves.
    """

    pretrained: Pretrained
    protocol: Protocol
    source: RecordSource
    validation: RecordSource | None
    texts: Mapping[str, str]
    rows: np.ndarray | None
    map_classes: Sequence[str]
    map_anatomies: Sequence[str] = ()

    @property
    def judging(self) -> zero_shot.Judging:
        """How the scores are judged."""
        p = self.protocol
        fixed = {"": p.fixed_threshold, **_renamed(p.fixed_thresholds, p)}
        return zero_shot.Judging(
            classes=classes_of(p),
            fixed=None if p.threshold_source == "none" else fixed,
            subgroups=p.subgroups,
            bins=p.bins,
            resamples=p.resamples,
            seed=p.seed,
        )


def open_model(checkpoint: str | Path, *, books: str | Path | None = None) -> Pretrained:
    """The pre-training model of `--checkpoint`, in any form that `weights.loading.load` reads.

    Raises:
      InputError: nothing there, another kind of model, or no text tables known; the path comes first, as a mistyped one
        reads like a hub id.
    """
    try:
        pretrained = load(checkpoint, books=books)["pretrained"]
    except InputError as error:
        if Path(checkpoint).exists() or "no such file or directory" in str(error):
            raise
        raise InputError(f"--checkpoint {checkpoint}: no such file or directory; as a hub id: {error}") from error
    kind = kind_of(pretrained.config)
    if kind != "medslip":
        raise InputError(f"{checkpoint}: holds a {kind}; zero-shot evaluation takes pre-training models")
    len(pretrained.inputs)  # raises if no text tables are known
    return pretrained


def where_it_is(checkpoint: str | Path) -> str:
    """The checkpoint for a result file: the step that a run's directory means, a path or a hub id as it is."""
    path = Path(checkpoint)
    if path.is_dir() and not list(path.glob("*.safetensors")):
        return str(find_checkpoint(path))
    return str(path.absolute()) if path.exists() else str(checkpoint)


def open_task(pretrained: Pretrained, protocol: Protocol) -> Task:
    """Opens the data and encodes the texts; nothing is scored yet.

    Raises:
      InputError: no such data or split, a class that is none, an encoder that did not write the text tables.
    """
    protocol = resolved(protocol, pretrained.info)
    data = (built_data(protocol.data.name, protocol.data.dir), protocol.data.name)
    source = open_split(*data, protocol.split)
    by_validation = protocol.threshold_source == "validation"
    validation = open_split(*data, protocol.threshold_split) if by_validation else None
    classes_of(protocol)  # raises for a class that is none, before anything is scored
    texts = texts_of(protocol)
    rows = encoded(texts.values(), pretrained, encoder=protocol.encoder) if texts else None
    maps: dict[str, list[str]] = {"map_classes": []}
    if protocol.grounding.use == "boxes":
        marked = annotated(source)
        maps = {"map_classes": _map_classes(marked["pathologies"], protocol)}
        # A single stream has no anatomy maps.
        maps["map_anatomies"] = marked["anatomies"] if _config(pretrained).streams == "dual" else []
    return Task(pretrained, protocol, source, validation, texts, rows, **maps)


def encoded(texts: Iterable[str], pretrained: Pretrained, *, encoder: str) -> np.ndarray:
    """Sentences as the model reads the rows of its pathology table: float32 (k, T).

    Raises:
      InputError: as `load_encoder` and `user_queries.encode_query`.
    """
    books, tables = cast(TextBooks, pretrained.books), pretrained.info.get("books", {}).get("tables", "as_is")
    loaded = load_encoder(encoder, max_length=books.provenance.get("max_length", MAX_LENGTH))
    rows = [user_queries.encode_query(text, books=books, encoder=loaded, tables=tables) for text in texts]
    return np.concatenate(rows)


def resolved(protocol: Protocol, info: Mapping) -> Protocol:
    """The protocol with the checkpoint's own values in its gaps; `info` is `ModelBundle.info`."""
    known, data, grounding = _settings(info), protocol.data, protocol.grounding
    # A path is meant from here, not from the data directory.
    is_path = "/" in data.name and Path(data.name).is_dir()
    name = str(Path(data.name).absolute()) if is_path else data.name
    complete = dataclasses.replace(
        protocol,
        data=ProtocolData(name=name or known.data.name, dir=data.dir or known.data.dir),
        batch_size=protocol.batch_size or known.eval.batch_size,
        grounding=dataclasses.replace(grounding, focal=grounding.focal or known.eval.focal),
        encoder=protocol.encoder or str(info.get("books", {}).get("encoder", "")),
    )
    check_protocol(complete)
    return complete


def _config(pretrained: Pretrained) -> MeDSLIPConfig:
    """`open_model` lets no other kind through, nor a model without text tables."""
    return cast(MeDSLIPConfig, pretrained.config)


def _map_classes(found: Sequence[str], protocol: Protocol) -> list[str]:
    """Of the annotated pathologies those that `grounding.classes` names, which must be among them; else the judged."""
    wanted = [protocol.class_map.get(name, name) for name in protocol.grounding.classes]
    for name in wanted:
        if name not in PATHOLOGIES:
            raise InputError(f"grounding.classes: {name!r} is no class of the vocabulary, nor of the class map")
    missing = [str(name) for name in wanted if name not in found]
    if missing:
        raise InputError(
            f"grounding.classes: the {protocol.split} split has no boxes of {', '.join(missing)}; it has some of: "
            f"{', '.join(found) or 'no class'} (--config.grounding.use=off leaves grounding out)"
        )
    judged = classes_of(protocol)
    return [name for name in found if name in (wanted or (found if judged is None else judged))]


def _renamed(by_name: Mapping, protocol: Protocol) -> dict:
    """{name of the data set or of the vocabulary: value} -> {name in the results: value}."""
    mapped = {n: q if isinstance(q, str) else n for n, q in protocol.class_map.items()}
    for name in by_name:
        if mapped.get(name, name) not in (*PATHOLOGIES, *mapped.values()):
            raise InputError(f"fixed_thresholds: {name!r} is no class of this protocol")
    return {mapped.get(name, name): value for name, value in by_name.items()}


def _settings(info: Mapping) -> Pretraining:
    """The experiment that the model comes from; the default one where nobody knows."""
    known = info.get("experiment")
    return read_as(known, Pretraining) if known else Pretraining()


def score_splits(task: Task) -> tuple[dict, dict | None]:
    """The judged split and the one of thresholds, or None; each as `zero_shot.identify` gives it.

    Raises:
      InputError: a batch size that does not fit the devices.
    """
    mesh = sharding.make_mesh()
    sharding.check_batch_size(mesh, task.protocol.batch_size, key="batch_size")
    step = jit_score_step(
        _trainer(task.pretrained),
        mesh,
        map_classes=[pathology_index(name) for name in task.map_classes],
        map_anatomies=[anatomy_index(name) for name in task.map_anatomies],
        extra_queries=task.rows,
    )
    variables = jax.device_put(fold(task.pretrained.variables), sharding.replicated(mesh))
    scored = functools.partial(_scored, step, variables, task=task, mesh=mesh)
    return scored(task.source), None if task.validation is None else scored(task.validation)


def _scored(step: Callable, variables: Mapping, source: RecordSource, *, task: Task, mesh: Mesh) -> dict:
    known = _settings(task.pretrained.info).data
    options = loader_options(known, batch_size=task.protocol.batch_size)
    options |= {"train": False, "image_size": task.pretrained.info["preprocessing"]["image_size"]}
    try:
        loader = Loader(source, **options)
    except NoSharedMemory as error:
        # The number is from the machine that trained.
        print(f"note: read with {known.threads} threads and no worker processes ({str(error).partition(';')[0]})")
        loader = Loader(source, **options | {"workers": 0})
    try:
        arrays = score(step, variables, tqdm(loader, unit="batch", disable=None, leave=False), mesh=mesh)
    finally:
        loader.close()
    return zero_shot.identify(arrays, source, targets=list(task.texts))


def _trainer(pretrained: Pretrained) -> Trainer:
    """What a scoring step reads of a run: the model, its tables, and how the loss compares features."""
    return Trainer(
        model=_config(pretrained),
        loss=_settings(pretrained.info).loss,
        optim=OptimConfig(),
        books=cast(TextBooks, pretrained.prepared_books),
        num_steps=1,
        steps_per_epoch=1,
    )
