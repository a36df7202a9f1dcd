"""The sections of an experiment as frozen dataclasses: what the code reads once a config tree has been checked.

A tree (`default_config`, a config file, the JSON in a checkpoint) becomes `Pretraining` or `FineTuning` once,
where a verb or a notebook calls the library (`trees.read`). A function takes the sections that it needs.
"""

import dataclasses
from typing import TYPE_CHECKING, Literal, TypeVar

from data_pipelines.loading import AugmentConfig, Targets
from medslip_jax.errors import InputError, check_choices
from medslip_jax.models.config import ClassifierConfig, MeDSLIPConfig, SegmenterConfig
from medslip_jax.text.books import TextTables
from medslip_jax.vocabulary import pathology_index

# What a converted checkpoint has in books.sha256 if nobody knows its text tables.
UNKNOWN_BOOKS = "unknown"
# The unweighted terms of the pre-training loss, as the log has them.
LOSS_TERMS = ("exist_pathology", "proto_pathology", "exist_anatomy", "proto_anatomy", "icl")
# Metrics that can choose the best step of a fine-tuning run.
METRICS = {"classifier": ("auroc", "average_precision"), "segmenter": ("dice_pooled", "dice_positive", "iou")}

Tune = Literal["full", "last_blocks", "head"]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Section = TypeVar("Section", bound="DataclassInstance")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights and options of the losses; the defaults are the released ones (SPEC 4).

    Attributes:
      exist_weight: weight of the existence terms.
      alpha: weight of ProtoCL.
      beta: weight of ICL.
      similarity: of ProtoCL and ICL: "dot" as released, or "cosine", which divides each vector and table row by its
        length and the product by `temperature` (a prototype is then the mean of unit rows); keeps the first steps
        of a run from scratch from being spent on lengths.
      temperature: of "cosine"; unused with "dot".
      exclude_classes: pathologies left out of the pathology existence and ProtoCL terms.
    """

    exist_weight: float = 1.0
    alpha: float = 1.0
    beta: float = 1.0
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float = 0.1
    exclude_classes: tuple[str, ...] = ()

    def __post_init__(self):
        check_choices(self, section="loss")
        if self.temperature <= 0:
            raise InputError(f"loss.temperature={self.temperature}: must be above 0")
        _ = self.excluded

    @property
    def excluded(self) -> tuple[int, ...]:
        """Indices of `exclude_classes`. `InputError` for a name that is no pathology."""
        return tuple(map(pathology_index, self.exclude_classes))


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Schedule and optimiser; the defaults are the released recipe (SPEC 5).

    Attributes:
      optimizer: "adamw" (released), or "muon": each matrix's update gets equal singular values, biases and norms get
        AdamW with Nesterov's momentum.
      schedule: "released" (steps of the warm-up table inside epoch 0, then a cosine per epoch), "warmup_cosine"
        (linear warm-up from 0, then a cosine per step), or "constant".
      learning_rate: peak; with "released" it scales the whole published schedule, whose peak is 1e-4.
      final_learning_rate: end of the "warmup_cosine" schedule.
      warmup_steps: of "warmup_cosine".
      b1: AdamW's first moment decay.
      b2: AdamW's second moment decay.
      eps: AdamW's epsilon, added outside the square root.
      weight_decay: on tensors of two or more dimensions only: not on biases and norms.
      clip_norm: global gradient norm limit; 0 switches it off (released).
      ema_decay: of the moving average of parameters and batch statistics that evaluation uses; 0 switches it off
        (released).
      accumulate: parts that a batch is computed in, one after another, for less memory. Gradients are those of the
        whole batch but for BatchNorm, whose statistics are each part's own, and dropout, which draws anew.
    """

    optimizer: Literal["adamw", "muon"] = "adamw"
    schedule: Literal["released", "warmup_cosine", "constant"] = "released"
    learning_rate: float = 1e-4
    final_learning_rate: float = 1e-5
    warmup_steps: int = 500
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.02
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    accumulate: int = 1

    def __post_init__(self):
        check_choices(self, section="optim")
        if self.accumulate < 1:
            raise InputError(f"optim.accumulate={self.accumulate}: must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read, and how.

    Attributes:
      name, dir: what was built (`medslip data build NAME --out DIR`) and where.
      train_images: filled in by a run, so that a resume sees if the data have changed.
      batch_size: images of a step over all devices.
      image_size: side in pixels.
      workers, threads: processes (0: none) and threads that decode and augment.
      augment: of training.
    """

    name: str = ""
    dir: str = "data"
    train_images: int = 0
    batch_size: int = 64
    image_size: int = 224
    workers: int = 0
    threads: int = 2
    augment: AugmentConfig = AugmentConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingData(DataConfig):
    """Attributes beside `DataConfig`'s:

    mixture: built data sets to train on by weight, "openi=2,nih_cxr14=1", in place of name's train split ("" = that
      one); validation comes from name in any case.
    """

    mixture: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningData(DataConfig):
    """Attributes beside `DataConfig`'s:

    fraction, subset_seed: share of the training images, by patient; a larger one holds the smaller ones.
    """

    fraction: float = 1.0
    subset_seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BooksConfig:
    """The text tables.

    Attributes:
      path: file ("" = the shipped MiniLM ones).
      tables: "as_is" or "centred".
      sha256: filled in by a run, so that a resume sees if the tables have changed.
    """

    path: str = ""
    tables: TextTables = "as_is"
    sha256: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """The devices of a step.

    Attributes:
      data, fsdp: copies of the parameters (-1: what the devices give), and devices that share one copy of parameters
        and optimiser state; 1 = data parallel.
      batch_norm_devices: batch statistics are over groups of so many devices; 0 = over all, the whole batch.
    """

    data: int = -1
    fsdp: int = 1
    batch_norm_devices: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Validation while a model is pre-trained.

    Attributes:
      batch_size: images of a step over all devices.
      images: validation images at most, evenly spaced; 0 = all.
      classes: pathologies of the validation AUROC; () = all that have labels.
      focal: pathologies whose pointing game `medslip evaluate` also averages, the small ones.
    """

    batch_size: int = 64
    images: int = 0
    classes: tuple[str, ...] = ()
    focal: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuningValidation:
    """Validation while a model is fine-tuned.

    Attributes:
      batch_size, images: as of `ValidationConfig`.
      metric: chooses the best step: "auroc" or "average_precision", macro; "dice_pooled", "dice_positive" or "iou",
        the mean over targets.
    """

    batch_size: int = 64
    images: int = 0
    metric: str = "auroc"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run: where it starts, how long it is, what it writes and when. In a tree these keys stand at the top.

    Attributes:
      seed: root of every random stream: initial values, dropout, negatives, shuffling, augmentation.
      init_from: weights to start from, whatever `weights.load` reads ("" = from scratch); optimiser and schedule start
        anew.
      init_excuse: leaf paths such as "params/decoder_*" that need not fit and keep initial values.
      num_epochs, num_steps: length; num_steps, if above 0, wins.
      log_every, eval_every, save_every: in steps; 0 = at the end only (of fine-tuning, eval_every 0 = once an epoch).
      keep: newest checkpoints kept. Besides, keep_every_hours: one for so many hours (0 = none); keep_best: the one
        with the highest value of this metric, among those of a step that was validated ("" = none).
      watchdog_minutes: without a finished step, validation batch or save in so long, the process ends; 0 = never.
    """

    seed: int = 0
    init_from: str = ""
    init_excuse: tuple[str, ...] = ()
    num_epochs: int = 100
    num_steps: int = 0
    log_every: int = 50
    eval_every: int = 1000
    save_every: int = 1000
    keep: int = 2
    keep_every_hours: float = 0.0
    keep_best: str = "val_auroc"
    watchdog_minutes: float = 30.0

    def steps(self, *, per_epoch: int) -> int:
        """Length of the run in steps."""
        return self.num_steps or self.num_epochs * per_epoch


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What fine-tuning learns. In a tree these keys stand at the top.

    Attributes:
      kind: "classifier" or "segmenter".
      targets: what is learned, see `data_pipelines.loading.targets`.
      tune: "full", "last_blocks" or "head", see `finetuning.step`.
      threshold: of a mask's probability.
    """

    kind: str
    targets: tuple[str, ...] = ()
    tune: Tune = "full"
    threshold: float = 0.5

    @property
    def wanted(self) -> Targets:
        """`InputError` for no targets, or one that is none."""
        return Targets("labels" if self.kind == "classifier" else "masks", self.targets)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A whole pre-training experiment; the defaults are the released recipe (SPEC 5)."""

    run: RunConfig = RunConfig()
    model: MeDSLIPConfig = MeDSLIPConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    data: PretrainingData = PretrainingData()
    books: BooksConfig = BooksConfig()
    mesh: MeshConfig = MeshConfig()
    eval: ValidationConfig = ValidationConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuning:
    """A whole fine-tuning experiment (SPEC 7)."""

    task: TaskConfig
    run: RunConfig
    model: ClassifierConfig | SegmenterConfig
    optim: OptimConfig
    data: FineTuningData
    books: BooksConfig
    mesh: MeshConfig
    eval: FineTuningValidation


Experiment = Pretraining | FineTuning


def default_experiment(kind: str) -> Experiment:
    """The released recipe of a kind of model: "medslip" (SPEC 5), "classifier" or "segmenter" (SPEC 7)."""
    if kind == "medslip":
        return Pretraining()
    return FineTuning(
        task=TaskConfig(kind=kind),
        run=RunConfig(num_epochs=50, eval_every=0, save_every=200, keep_best=""),
        model={"classifier": ClassifierConfig, "segmenter": SegmenterConfig}[kind](),
        optim=OptimConfig(schedule="constant", learning_rate=1e-5),
        data=FineTuningData(),
        books=BooksConfig(sha256=UNKNOWN_BOOKS),
        mesh=MeshConfig(),
        eval=FineTuningValidation(metric=METRICS[kind][0]),
    )


def replaced(section: Section, **changes) -> Section:
    """`dataclasses.replace`, one level down: replaced(experiment, data={"train_images": 9})."""
    return dataclasses.replace(
        section, **{name: dataclasses.replace(getattr(section, name), **fields) for name, fields in changes.items()}
    )
