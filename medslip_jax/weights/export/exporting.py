"""A model as a file for serving, which needs none of this package's code."""

from collections.abc import Sequence
from pathlib import Path

from medslip_jax.errors import InputError
from medslip_jax.models.kinds import kind_of
from medslip_jax.weights.export.stablehlo import PLATFORMS, serving_function, write_stablehlo
from medslip_jax.weights.loading import Pretrained, load

# What of a description goes into the artifact; "experiment" stays behind, as it says nothing to who calls it.
_METADATA = ("kind", "model", "classes", "preprocessing", "books", "versions", "source", "license")


def export(
    source: str | Path,
    to: str | Path,
    *,
    image_size: int | None = None,
    books: str | Path | None = None,
    platforms: Sequence[str] = (),
    dtype: str = "float32",
    overwrite: bool = False,
) -> int:
    """Writes a model as StableHLO (`to` ends with .zip) or ONNX (.onnx); an old file is replaced whole.

    Args:
      source: whatever `weights.load` reads.
      to: the file.
      image_size: sides in pixels; None for the model's own.
      books: text tables, where the model has none.
      platforms: of StableHLO; () for all of `PLATFORMS`.
      dtype: of StableHLO's computations, "float32" or "bfloat16".
      overwrite: replace `to`.

    Returns:
      Sides of the images that it takes.

    Raises:
      InputError: a model that cannot be used, or a target that may not be written.
    """
    to = Path(to)
    if to.suffix not in (".zip", ".onnx"):
        raise InputError(f"--to {to}: end it with .zip for StableHLO or .onnx for ONNX")
    if to.exists() and not overwrite:
        raise InputError(f"--to: {to} is there already; give another name or --overwrite")
    if to.suffix == ".onnx" and (platforms or dtype != "float32"):
        flag = f"--platforms {','.join(platforms)}" if platforms else f"--dtype {dtype}"
        raise InputError(f"{flag}: belongs to StableHLO (.zip); {to.name} computes in float32 wherever it is run")
    known = (*PLATFORMS, "rocm")
    if not set(platforms) <= set(known):
        raise InputError(f"--platforms {','.join(platforms)}: expected some of {', '.join(known)}")
    pretrained = load(source, books=books)["pretrained"]
    size = pretrained.info["preprocessing"]["image_size"] if image_size is None else image_size
    function = serving_function(
        pretrained.module,
        kind=kind_of(pretrained.config),
        variables=pretrained.variables,
        books=pretrained.prepared_books,
        dtype=dtype,
    )
    metadata = artifact_metadata(pretrained, image_size=size, dtype=dtype)
    if to.suffix == ".zip":
        write_stablehlo(to, function=function, image_size=size, metadata=metadata, platforms=platforms or PLATFORMS)
    else:
        from medslip_jax.weights.export.onnx import write_onnx

        write_onnx(to, function=function, image_size=size, metadata=metadata)
    return size


def artifact_metadata(pretrained: Pretrained, *, image_size: int, dtype: str) -> dict:
    """JSON-able: what the model is, its classes, and what a caller has to do to an image before the call."""
    known = {key: pretrained.info[key] for key in _METADATA if pretrained.info.get(key) is not None}
    before = {
        "read": "grey, bones bright (a DICOM with its window applied, MONOCHROME1 inverted)",
        "resize": f"to {image_size} x {image_size}, bicubic with anti-aliasing, aspect not kept",
        "dtype": "uint8, 0 .. 255",
        "inside": "repeated to 3 channels, / 255, ImageNet mean and standard deviation",
    }
    return known | {"preprocessing": before | {"image_size": image_size}, "dtype": dtype}
