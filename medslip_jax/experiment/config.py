"""Experiments: the default config tree, config files with typed arguments, and what a tree describes.

A config file has `get_config(arg) -> ml_collections.ConfigDict`; it starts from `default_config()` and changes what
differs. Sections `model`, `loss`, `optim` and `data.augment` are fields of the dataclasses of the same purpose,
whose docstrings explain them.
"""

import contextlib
import dataclasses
import hashlib
import json
import runpy
import traceback
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from data_pipelines.loading import AugmentConfig
from medslip_jax.errors import InputError, from_section
from medslip_jax.models import MeDSLIPConfig
from medslip_jax.models.kinds import KINDS, STRIDES
from medslip_jax.step.losses import LossConfig
from medslip_jax.step.optim import OptimConfig
from medslip_jax.storage.files import on_this_machine
from medslip_jax.text.books import TextBooks, load_books, prepared
from medslip_jax.vocabulary import pathology_index

# What a converted checkpoint has in books.sha256 if nobody knows its text tables.
UNKNOWN_BOOKS = "unknown"


def default_config() -> ConfigDict:
    """The released recipe (SPEC 5) on a data set that the config file still has to name.

    Keys outside the dataclass sections:
      seed: root of every random stream: initial values, dropout, negatives, shuffling, augmentation.
      init_from: weights to start from, whatever `pretrained.load` reads ("" = from scratch); optimiser and schedule
        start anew. init_excuse: leaf paths such as "params/decoder_*" that need not fit and keep initial values.
      num_epochs, num_steps: length of the run; num_steps, if above 0, wins.
      data.name, data.dir: what was built (`medslip data build NAME --out DIR`) and where.
      data.mixture: built data sets to train on by weight, "openi=2,nih_cxr14=1", in place of data.name's train split
        ("" = that one); validation comes from data.name in any case.
      data.train_images, books.sha256: filled in by a run, so that a resume sees if data or tables have changed.
      data.batch_size: images of a step over all devices. data.image_size: side in pixels.
      data.workers, data.threads: processes (0: none) and threads that decode and augment.
      books.path: text tables ("" = the shipped MiniLM ones). books.tables: "as_is" or "centred".
      mesh.data, mesh.fsdp: copies of the parameters (-1: what the devices give), and devices that share one copy of
        parameters and optimiser state; 1 = data parallel.
      mesh.batch_norm_devices: batch statistics are over groups of so many devices; 0 = over all, the whole batch.
      log_every, eval_every, save_every: in steps; 0 = at the end only.
      keep: newest checkpoints kept. Besides, keep_every_hours: one for so many hours (0 = none); keep_best: the one
        with the highest value of this metric, among those of a step that was validated ("" = none).
      watchdog_minutes: without a finished step, validation batch or save in so long, the process ends; 0 = never.
      eval.batch_size: of validation. eval.images: validation images at most, evenly spaced; 0 = all.
      eval.classes: pathologies of the validation AUROC; () = all that have labels.
      eval.focal: pathologies whose pointing game `medslip evaluate` also averages, the small ones.
    """
    config = ConfigDict()
    config.seed = 0
    config.init_from, config.init_excuse = "", ()
    config.num_epochs = 100
    config.num_steps = 0
    config.data = ConfigDict(
        {"name": "", "dir": "data", "mixture": "", "train_images": 0, "batch_size": 64, "image_size": 224}
    )
    config.data.workers, config.data.threads = 0, 2
    config.data.augment = _section(AugmentConfig)
    config.model = _section(MeDSLIPConfig)
    config.loss = _section(LossConfig)
    config.optim = _section(OptimConfig)
    config.books = ConfigDict({"path": "", "tables": "as_is", "sha256": ""})
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "batch_norm_devices": 0})
    config.log_every, config.eval_every, config.save_every, config.keep = 50, 1000, 1000, 2
    config.keep_every_hours, config.keep_best, config.watchdog_minutes = 0.0, "val_auroc", 30.0
    config.eval = ConfigDict({"batch_size": 64, "images": 0, "classes": (), "focal": ()})
    return config


def default_fine_tuning(kind: str) -> ConfigDict:
    """Fine-tuning as of SPEC 7: AdamW at 1e-5, batch 64, on a data set that the config file still has to name.

    Keys beside those of `default_config`:
      kind: "classifier" or "segmenter"; `model` holds the fields of `ClassifierConfig` or `SegmenterConfig`, but for
        num_classes, which is the number of targets.
      targets: what is learned, see `data_pipelines.loading.targets`.
      tune: "full", "last_blocks" or "head", see `fine_tuner`.
      init_from: a pre-trained model, or one of the same kind, whatever `pretrained.load` reads ("" = random).
      data.fraction, data.subset_seed: share of the training images, by patient; a larger one holds the smaller ones.
      eval_every: 0 = once an epoch. eval.metric: of validation, chooses the best step: "auroc" or "average_precision",
        macro; "dice_pooled", "dice_positive" or "iou", the mean over targets.
      threshold: of a mask's probability.
    """
    config = default_config()
    del config.loss, config.data.mixture
    config.kind, config.tune, config.targets, config.threshold = kind, "full", (), 0.5
    config.model = _section(KINDS[kind][0])
    config.books.sha256 = UNKNOWN_BOOKS
    config.optim.schedule, config.optim.learning_rate = "constant", 1e-5
    config.data.fraction, config.data.subset_seed = 1.0, 0
    config.num_epochs, config.eval_every, config.save_every, config.keep_best = 50, 0, 200, ""
    metric = {"classifier": "auroc", "segmenter": "dice_pooled"}[kind]
    config.eval = ConfigDict({"batch_size": 64, "images": 0, "metric": metric})
    return config


def _section(dataclass: type) -> ConfigDict:
    return ConfigDict(dataclasses.asdict(dataclass()))


def set_short_run(config: ConfigDict) -> None:
    """What minutes of training from scratch need, for config files (README, "What a small budget needs").

    Xavier weights, normalised patches and cosine similarities, no dropout, less weight on the contrastive losses, the
    shipped text tables centred, and a linear warm-up.
    """
    config.model.text_dim = 384
    config.model.linear_init, config.model.patch_norm, config.model.dropout = "xavier", "layer_norm", 0.0
    config.loss.similarity = "cosine"
    config.loss.alpha = config.loss.beta = 0.3
    config.books.tables = "centred"
    config.optim.schedule = "warmup_cosine"
    config.optim.learning_rate = 1e-3
    config.optim.clip_norm = 1.0


def shrink(config: ConfigDict) -> None:
    """Six steps on small images: the smoke test of a config file (`:tiny`)."""
    config.num_steps, config.data.batch_size, config.data.image_size = 6, 8, 64
    config.log_every, config.eval_every, config.save_every = 2, 3, 3
    config.eval.images, config.eval.batch_size = 16, 8


def shrink_to_phantom(config: ConfigDict) -> None:
    """`shrink`, with a tiny model, the shipped text tables and the phantom in place of data that nobody has at hand."""
    shrink(config)
    config.data.name, config.data.workers = "phantom", 0
    config.model.backbone, config.model.trunk_width, config.model.text_dim = "resnet18", 8, 384
    config.books.path = ""


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


def load_config(argv: list[str], *, documented: str = "medslip_jax/experiment/config.py") -> ConfigDict:
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


def to_json(config: ConfigDict) -> str:
    return json.dumps(config.to_dict(), indent=1, sort_keys=True)


def from_json(text: str) -> ConfigDict:
    """The config that `to_json` wrote; lists become tuples again."""
    return ConfigDict(json.loads(text, object_hook=lambda d: {k: _tupled(v) for k, v in d.items()}))


def _tupled(value):
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def model_config(config: ConfigDict) -> MeDSLIPConfig:
    return from_section(MeDSLIPConfig, config.model, name="config.model")


def loss_config(config: ConfigDict) -> LossConfig:
    """`exclude_classes` are names in a config and indices in the dataclass."""
    section = dict(config.loss)
    names = section.pop("exclude_classes")
    return from_section(
        LossConfig, section | {"exclude_classes": tuple(map(pathology_index, names))}, name="config.loss"
    )


def optim_config(config: ConfigDict) -> OptimConfig:
    return from_section(OptimConfig, config.optim, name="config.optim")


def augment_config(config: ConfigDict) -> AugmentConfig:
    return from_section(AugmentConfig, config.data.augment, name="config.data.augment")


def require_image_size(config: ConfigDict) -> None:
    """`InputError` for a data.image_size that the trained model could not be used at."""
    size, stride = config.data.image_size, STRIDES[config.get("kind", "medslip")]
    if size < stride or size % stride:
        raise InputError(f"data.image_size={size}: must be a multiple of {stride}, such as 224")


def books(config: ConfigDict) -> TextBooks:
    """The text tables of a run, prepared; `InputError` if not model.text_dim wide or changed since training."""
    return checked_books(config, load_books(config.books.path or None))


def checked_books(config: ConfigDict, raw: TextBooks) -> TextBooks:
    """Tables as read -> as the model reads them; `InputError` as of `books`."""
    if config.books.sha256 == UNKNOWN_BOOKS:
        raise InputError(
            "this model came without the text tables that it was trained with; convert it again with --books FILE"
        )
    tables = prepared(raw, text_tables=config.books.tables)
    if tables.width != config.model.text_dim:
        raise InputError(
            f"model.text_dim={config.model.text_dim}, but the text tables "
            f"{config.books.path or '(shipped)'} are {tables.width} wide; set --config.model.text_dim={tables.width}"
        )
    if config.books.sha256 not in ("", books_hash(tables)):
        raise InputError(f"the text tables {config.books.path or '(shipped)'} are not those of the training run")
    return tables


def books_hash(tables: TextBooks) -> str:
    """sha256 of both tables' bytes."""
    return hashlib.sha256(tables.pathology.tobytes() + tables.anatomy.tobytes()).hexdigest()


def differences(saved: ConfigDict, current: ConfigDict, *, prefix: str = "") -> list[str]:
    """Keys whose values differ, as `key: saved -> current`, in the order of the saved config."""
    lines = []
    for key in [*saved, *(k for k in current if k not in saved)]:
        a, b = saved.get(key), current.get(key)
        if isinstance(a, ConfigDict) and isinstance(b, ConfigDict):
            lines += differences(a, b, prefix=f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines


def completed(saved: ConfigDict) -> ConfigDict:
    """A config that an earlier version wrote, with the default of every key that has come since."""
    config = default_fine_tuning(saved.kind) if "tune" in saved else default_config()
    with config.unlocked():
        config.update(saved)
    return config


def require_built(config: ConfigDict) -> Path:
    """Where the run's data lie; `InputError` while the config names none."""
    if not config.data.name:
        raise InputError(
            "data.name is empty; name a built data set: --config.data.name=NAME, or --data NAME of evaluate"
        )
    return on_this_machine(config.data.dir, flag="--config.data.dir")
