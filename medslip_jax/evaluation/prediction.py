"""A model over image files: read ahead in threads, scored in batches over all devices; a bad file is told of."""

import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from data_pipelines import images
from data_pipelines.images import ImagePolicy, is_left_behind, printable, suspicions
from medslip_jax.errors import InputError
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.models.kinds import kind_of
from medslip_jax.parallel import sharding
from medslip_jax.vocabulary import NORMAL_OBSERVATIONS, PATHOLOGIES
from medslip_jax.weights.export.stablehlo import serving_function
from medslip_jax.weights.loading import Pretrained

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", "")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One file: what the model's serving function says of it, or `error` why it could not be read.

    `outputs` are the arrays of `serving_function` without the batch axis, `image` is grey uint8 (H, W) as read, empty
    with an `error`, `notes` say what is odd about it.
    """

    file: Path
    error: str = ""
    image: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, 0), np.uint8))
    outputs: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def class_names(pretrained: Pretrained) -> list[str]:
    """Names of the model's probabilities: the 75 pathologies, or a fine-tuned model's own classes."""
    if isinstance(pretrained.config, MeDSLIPConfig):
        return list(PATHOLOGIES)
    given = (pretrained.info.get("classes") or {}).get("targets")
    return list(given) if given else [f"class_{i}" for i in range(pretrained.config.num_classes)]


def class_values(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(classes,) of one image's outputs: probabilities, or of masks the share of pixels above 0.5."""
    if "mask_probability" in outputs:
        return (outputs["mask_probability"] > 0.5).mean(axis=(0, 1))
    return outputs["pathology_probability" if "pathology_probability" in outputs else "probability"]


def class_maps(outputs: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """(classes, h, w) of one image's outputs: attention, or probabilities of masks; a plain classifier has none."""
    if "mask_probability" in outputs:
        return np.moveaxis(outputs["mask_probability"], -1, 0)
    return outputs.get("pathology_attention")


def chosen_classes(pretrained: Pretrained, names: str | None) -> list[str]:
    """The classes that overlays show: those named, else all that the model knows but "normal", "clear" and their like.

    Raises:
      InputError: a name that the model has no probability for.
    """
    known = class_names(pretrained)
    wanted = names.split(",") if names else [name for name in known if name not in NORMAL_OBSERVATIONS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InputError(f"--classes: the model has no class {unknown[0]!r}; it has: {', '.join(known)}")
    return wanted


def find_images(where: str, *, but: Path | None = None) -> list[Path]:
    """The files that a path, a directory (with everything below it) or a glob pattern means, in order.

    A directory gives files ending in .png, .jpg, .jpeg, .dcm, .dicom or nothing (as DICOM exports are often named);
    a file or a pattern gives whatever it names. What a directory or a pattern gives below `but` is left out, and what
    macOS and others leave beside images (`images.is_left_behind`).

    Raises:
      InputError: nothing there.
    """
    path = Path(where)
    if path.is_file():
        return [path]
    anchor = Path()
    if path.is_dir():
        anchor = path
        kept = [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    else:
        anchor = Path(path.anchor) if path.is_absolute() else anchor
        pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else where
        try:
            kept = list(anchor.glob(pattern))  # Python 3.12 looks at the pattern with the first file
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"--images {where}: not a path or a pattern ({error})") from error
    outside = (file for file in kept if but is None or not file.absolute().is_relative_to(but.absolute()))
    wanted = (file for file in outside if not is_left_behind(file.relative_to(anchor)))
    found = sorted(file for file in wanted if file.is_file())
    if not found:
        raise InputError(f"--images {where}: no image file there; give a file, a directory or a quoted pattern")
    return found


def predict(
    pretrained: Pretrained,
    files: Sequence[Path],
    *,
    batch_size: int = 16,
    policy: ImagePolicy = ImagePolicy(resize="squash"),
    threads: int = 4,
) -> Iterator[Prediction]:
    """Predictions in the order of `files`; a few batches are in memory, whatever their number.

    Args:
      pretrained: a model of any kind.
      files: PNG, JPEG or DICOM.
      batch_size: images of a step over all devices; rounded up to a multiple of their number.
      policy: how files become grey, and then the model's square.
      threads: that read ahead.

    Raises:
      InputError: the model came without text tables.
    """
    _ = pretrained.inputs
    mesh = sharding.make_mesh()
    batch_size = -(-batch_size // mesh.size) * mesh.size
    size = pretrained.info["preprocessing"]["image_size"]
    step = jax.jit(
        serving_function(
            pretrained.module,
            kind=kind_of(pretrained.config),
            variables=pretrained.variables,
            books=pretrained.prepared_books,
        ),
        in_shardings=sharding.batch_sharding(mesh),
        out_shardings=sharding.replicated(mesh),
    )
    waiting: collections.deque[Prediction] = collections.deque()
    for found in _read_ahead(files, policy=policy, threads=threads, ahead=2 * batch_size):
        waiting.append(found)
        if sum(not p.error for p in waiting) == batch_size:
            yield from _scored(waiting, step, mesh, size=size, batch_size=batch_size, policy=policy)
            waiting.clear()
    yield from _scored(waiting, step, mesh, size=size, batch_size=batch_size, policy=policy)


def _read_ahead(files: Sequence[Path], *, policy: ImagePolicy, threads: int, ahead: int) -> Iterator[Prediction]:
    remaining = iter(files)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        pending = collections.deque(pool.submit(_read, file, policy) for file in itertools.islice(remaining, ahead))
        while pending:
            yield pending.popleft().result()
            following = next(remaining, None)
            if following is not None:
                pending.append(pool.submit(_read, following, policy))


def _read(file: Path, policy: ImagePolicy) -> Prediction:
    name = printable(file)
    try:
        reading = images.read_image(file, name=name, policy=policy)
        if policy.resize == "short_side":
            images.fit(reading.grey, min(reading.grey.shape), policy=policy)  # which refuses a strip
    except InputError as error:
        return Prediction(file, error=str(error))
    except MemoryError:
        return Prediction(file, error=f"{name}: does not fit into memory; make it smaller")
    notes = (*reading.notes, *suspicions(reading.grey, colour=reading.colour))
    odd = () if name == str(file) else ("its name is not UTF-8 and shown with its bytes escaped",)
    return Prediction(file, image=reading.grey, notes=(*odd, *notes))


def _scored(
    group: Sequence[Prediction],
    step,
    mesh: jax.sharding.Mesh,
    *,
    size: int,
    batch_size: int,
    policy: ImagePolicy,
) -> Iterator[Prediction]:
    kept = [found.image for found in group if not found.error]
    grey = [images.squash(images.fit(image, size, policy=policy), size) for image in kept]
    outputs: dict[str, np.ndarray] = {}
    if grey:
        batch = np.zeros((batch_size, size, size), np.uint8)
        batch[: len(grey)] = grey
        outputs = jax.device_get(step(sharding.put_batch(mesh, {"image": batch})["image"]))
    rows = iter([{name: array[row] for name, array in outputs.items()} for row in range(len(grey))])
    for found in group:
        yield found if found.error else dataclasses.replace(found, outputs=next(rows))
