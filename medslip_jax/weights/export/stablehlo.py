"""A trained model as one function of images, and as a StableHLO file that runs without this package.

`onnx` writes the same function as ONNX. Weights, text tables and normalisation are inside all of them: grey
uint8 images go in, named float32 arrays come out, for any batch size.
"""

import contextlib
import dataclasses
import functools
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from medslip_jax.errors import InputError
from medslip_jax.models.config import STRIDES, Kind
from medslip_jax.models.folding import fold
from medslip_jax.step.train_step import normalise
from medslip_jax.storage.files import replacing_file
from medslip_jax.text.books import TextBooks
from medslip_jax.weights.export.versions import unreadable, unsupported, writer_of, written_with

ServingFunction = Callable[[UInt8[Array, "b h w"]], dict[str, Float[Array, "b ..."]]]

PLATFORMS = ("cpu", "cuda", "tpu")
FORMAT = 1
_PROGRAM, _METADATA = "model.jax_export", "metadata.json"
# What jax raises for other bytes, or for those of another version: RuntimeError comes from the compiler.
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, AssertionError, RuntimeError, struct.error)
_HOW_TO_CALL = (
    "import jax.export, zipfile; program = jax.export.deserialize(bytearray(zipfile.ZipFile(FILE).read("
    "'model.jax_export'))); outputs = jax.jit(program.call)(image)  # image: the uint8 array of 'inputs'; outputs: "
    "a dict of arrays. Needs flatbuffers and a jax as in 'written_with'."
)


@dataclasses.dataclass(frozen=True)
class FreeTables:
    """What a serving function reads of text tables, with any number of pathology rows, which may be traced."""

    pathology: Array
    anatomy: np.ndarray

    @property
    def width(self) -> int:
        return self.pathology.shape[1]


Tables = TextBooks | FreeTables


def serving_function(
    module: nn.Module, *, kind: Kind, variables: Mapping, books: Tables | None = None, dtype: str = "float32"
) -> ServingFunction:
    """What a model says about images, for people who only want that.

    Example:
      serve = serving_function(MeDSLIP(config), kind="medslip", variables=variables, books=books)
      serve(images)["pathology_probability"]  # uint8 (b, h, w) -> float32 (b, 75)

    Args:
      module: `MeDSLIP`, `Classifier` or `Segmenter`.
      kind: which of the three.
      variables: {"params", "batch_stats"} of the module; folded (`models.folding`), they become constants of the
        function.
      books: the text tables as the module reads them (`text.books.prepared`); of "medslip" only.
      dtype: of the computations, whatever the module was trained in.

    Returns:
      A pure function of grey uint8 images (b, h, w), sides divisible by `STRIDES[kind]`, to float32 arrays:
        "medslip": for every stream that the module has, "pathology_probability" (b, 75), "anatomy_probability"
          (b, 51), 0 .. 1, and "pathology_attention" (b, 75, h / 16, w / 16), "anatomy_attention" (b, 51, h / 16,
          w / 16), the mean over the decoder layers (SPEC 7); each map sums to 1.
        "classifier": "probability" (b, classes), 0 .. 1.
        "segmenter": "mask_probability" (b, h, w, classes), 0 .. 1.
      It raises `InputError` for images of another type, rank or size.

    Raises:
      InputError: text tables are missing or of another width than `model.text_dim`, or variables that cannot be folded.
    """
    module = module.clone(config=dataclasses.replace(module.config, dtype=dtype))
    constants = jax.tree.map(np.asarray, fold(variables))
    tables = _tables(books, module) if kind == "medslip" else ()

    def serve(image: UInt8[Array, "b h w"]) -> dict[str, Float[Array, "b ..."]]:
        _check_image(image, kind)
        out: Any = module.apply(constants, normalise(image), *tables)
        if kind == "medslip":
            height, width = image.shape[1:]
            return _medslip_outputs(out, grid=(height // STRIDES[kind], width // STRIDES[kind]))
        return {"probability" if kind == "classifier" else "mask_probability": jax.nn.sigmoid(out)}

    return serve


def image_spec(image_size: int) -> jax.ShapeDtypeStruct:
    """Abstract uint8 (batch, image_size, image_size) with a symbolic batch, 1 or more."""
    (batch,) = jax.export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, image_size, image_size), np.uint8)


def describe_arrays(function: ServingFunction, image_size: int) -> dict[str, dict]:
    """{"inputs", "outputs"}: {name: {"shape", "dtype"}} for JSON; the batch size is the string "batch"."""
    spec = image_spec(image_size)
    arrays = {"inputs": {"image": spec}, "outputs": jax.eval_shape(function, spec)}

    def plain(x: jax.ShapeDtypeStruct) -> dict:
        return {"shape": [d if isinstance(d, int) else str(d) for d in x.shape], "dtype": str(x.dtype)}

    return {side: {name: plain(x) for name, x in sorted(group.items())} for side, group in arrays.items()}


def write_stablehlo(
    path: str | Path,
    *,
    function: ServingFunction,
    image_size: int,
    metadata: Mapping,
    platforms: Sequence[str] = PLATFORMS,
) -> None:
    """Writes `function` for any batch size as StableHLO, compiled wherever it is loaded.

    The file is an uncompressed .zip, for two reasons: everyone can look into it without this package, and the
    description cannot be parted from the program. Its members are `model.jax_export` (for `jax.export.deserialize`) and
    `metadata.json`, which also says by which jax it was written and by which it is readable (`versions`).
    Equal functions give equal bytes under one version of jax: neither the day nor a path of this machine is in it.

    Args:
      path: of the .zip; replaced as a whole.
      function: of `serving_function`, or any of its signature.
      image_size: sides of the images, pixels.
      metadata: for JSON; "format", "how_to_call", "platforms", "written_with", "inputs" and "outputs" are added.
      platforms: that it can run on, as jax names them.

    Raises:
      InputError: an image size that the model cannot take, an unwritable folder, no flatbuffers.
    """
    path = Path(path)
    arrays = describe_arrays(function, image_size)
    with _without_tracebacks(), _flatbuffers(path):
        program = jax.export.export(jax.jit(function), platforms=platforms)(image_spec(image_size))
        serialized = bytes(program.serialize())
    writer = written_with() | {"calling_convention_version": program.calling_convention_version}
    added = {"format": FORMAT, "how_to_call": _HOW_TO_CALL, "platforms": list(platforms), "written_with": writer}
    description = {**metadata, **added, **arrays}
    members = {_METADATA: json.dumps(description, indent=2, sort_keys=True).encode(), _PROGRAM: serialized}
    with replacing_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)  # dated 1980
            info.create_system = 3  # else the byte that names the operating system differs between machines
            archive.writestr(info, data)


@dataclasses.dataclass(frozen=True, eq=False)
class ServedModel:
    """A program that `read_stablehlo` read; call it with uint8 images of the shape in `metadata["inputs"]`."""

    path: Path
    metadata: dict
    program: jax.export.Exported

    def __call__(self, image: UInt8[Array, "b h w"]) -> dict[str, Float[Array, "b ..."]]:
        """{name: float32 array}; compiled once a batch size. `InputError` for images of another type or size."""
        sides = self.program.in_avals[0].shape[1:]
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[1:] != sides or not len(image):
            raise InputError(f"{self.path}: got images {_shown(image)}; it takes uint8 (batch, {sides[0]}, {sides[1]})")
        return self._run(image)

    @functools.cached_property
    def _run(self) -> Callable:
        return jax.jit(self.program.call)


def read_stablehlo(path: str | Path) -> ServedModel:
    """Reads what `write_stablehlo` wrote. It is a program: run it only if you trust where it comes from.

    Raises:
      InputError: no such file, not such a zip, damaged, or written by a jax that is too old or too new for this one.
    """
    path, hint = Path(path), "export it again with `medslip export`"
    try:
        with zipfile.ZipFile(path) as archive:
            metadata, program = json.loads(archive.read(_METADATA)), archive.read(_PROGRAM)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {hint}") from error
    except KeyError as error:
        raise InputError(f"{path}: not an exported model ({error.args[0]}); {hint}") from error
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path}: damaged, or not an exported model ({error}); {hint}") from error
    have = metadata.get("format") if isinstance(metadata, dict) else None
    if have != FORMAT:
        raise InputError(f"{path}: format {have!r}, but this version reads {FORMAT}; update medslip_jax or {hint}")
    with _flatbuffers(path):
        return ServedModel(path, metadata, _program(path, program, metadata))


def _program(path: Path, serialized: bytes, metadata: Mapping) -> jax.export.Exported:
    try:
        program = jax.export.deserialize(bytearray(serialized))
        reason = unsupported(program)
        # What jax reads of a program until it is called is little; its own programs it reads.
        if reason is None and writer_of(metadata) != jax.__version__:
            spec = jax.ShapeDtypeStruct((1, *program.in_avals[0].shape[1:]), program.in_avals[0].dtype)
            jax.jit(program.call).trace(spec).lower(lowering_platforms=program.platforms)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: {_PROGRAM}: {unreadable(metadata, reason)}") from error
    if reason:
        raise InputError(f"{path}: {_PROGRAM}: {unreadable(metadata, reason)}")
    return program


def _medslip_outputs(out: Mapping, *, grid: tuple[int, int]) -> dict[str, Array]:
    served = {}
    for name, stream in out.items():
        present = jax.nn.softmax(stream["logits"], axis=-1)
        served[f"{name}_probability"] = jax.lax.index_in_dim(present, 1, axis=-1, keepdims=False)
        maps = stream["attention"].mean(axis=1)
        served[f"{name}_attention"] = maps.reshape(*maps.shape[:2], *grid)
    return served


def _tables(books: Tables | None, module: nn.Module) -> tuple[Array | np.ndarray, np.ndarray]:
    width = module.config.text_dim
    if books is None:
        raise InputError("text books: none given; give the tables that the model was trained with")
    if books.width != width:
        raise InputError(f"text books: width {books.width}, but model.text_dim={width}; give those it was trained with")
    return books.pathology, books.anatomy


def _check_image(image: Array, kind: Kind) -> None:
    stride = STRIDES[kind]
    sides = image.shape[1:]
    if image.dtype != np.uint8 or len(sides) != 2 or any(side < stride or side % stride for side in sides):
        raise InputError(f"images: {_shown(image)}; a {kind} takes uint8 (batch, h, w), sides divisible by {stride}")


def _shown(image: Array) -> str:
    return f"{image.dtype} ({', '.join(map(str, image.shape))})"


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Programs carry the call stack that led to each operation, with this machine's paths; this leaves it out."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


@contextlib.contextmanager
def _flatbuffers(path: Path) -> Iterator[None]:
    """jax imports flatbuffers only here, and does not require it."""
    try:
        yield
    except ImportError as error:
        raise InputError(f"{path}: needs flatbuffers; `pip install flatbuffers`") from error
