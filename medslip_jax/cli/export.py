"""`medslip export --from A --to B`: a model as a file for serving, which needs none of this package's code.

B ends with .zip for StableHLO (JAX, any batch size, CPU, GPU and TPU) or with .onnx for ONNX (extra [onnx]). Grey
uint8 images go in; probabilities and attention maps come out. Weights, text tables and normalisation are inside.
"""

import argparse
from pathlib import Path

from medslip_jax.cli.help_layout import help_layout
from medslip_jax.errors import InputError
from medslip_jax.models.kinds import kind_of
from medslip_jax.weights.export.stablehlo import PLATFORMS, serving_function, write_stablehlo
from medslip_jax.weights.export.versions import written_with
from medslip_jax.weights.loading import Pretrained, load

# What of a description goes into the artifact; "experiment" stays behind, as it says nothing to who calls it.
_METADATA = ("kind", "model", "classes", "preprocessing", "books", "versions", "source", "license")


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for a model that cannot be used or a target that may not be written."""
    args = _parser().parse_args(argv)
    to = Path(args.to)
    if to.suffix not in (".zip", ".onnx"):
        raise InputError(f"--to {to}: end it with .zip for StableHLO or .onnx for ONNX")
    if to.exists() and not args.overwrite:
        raise InputError(f"--to: {to} is there already; give another name or --overwrite")
    if to.suffix == ".onnx" and (args.platforms or args.dtype != "float32"):
        flag = f"--platforms {args.platforms}" if args.platforms else f"--dtype {args.dtype}"
        raise InputError(f"{flag}: belongs to StableHLO (.zip); {to.name} computes in float32 wherever it is run")
    platforms = tuple((args.platforms or ",".join(PLATFORMS)).split(","))
    known = (*PLATFORMS, "rocm")
    if not set(platforms) <= set(known):
        raise InputError(f"--platforms {args.platforms}: expected some of {', '.join(known)}")
    pretrained = load(args.source, books=args.books)["pretrained"]
    size = pretrained.info["preprocessing"]["image_size"] if args.image_size is None else args.image_size
    function = serving_function(
        pretrained.module,
        kind=kind_of(pretrained.config),
        variables=pretrained.variables,
        books=pretrained.prepared_books,
        dtype=args.dtype,
    )
    metadata = artifact_metadata(pretrained, image_size=size, dtype=args.dtype)
    if to.suffix == ".zip":
        write_stablehlo(to, function=function, image_size=size, metadata=metadata, platforms=platforms)
        promise = f"; {written_with()['promise']}"
    else:
        from medslip_jax.weights.export.onnx import write_onnx

        write_onnx(to, function=function, image_size=size, metadata=metadata)
        promise = ""
    print(f"written: {to} ({to.stat().st_size / 1e6:.1f} MB); uint8 (batch, {size}, {size}) in{promise}")
    return 0


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "medslip export",
        **help_layout(
            "medslip export --from runs/a --to model.zip",
            "medslip export --from runs/a --to model.onnx --image_size 224",
            description=__doc__,
        ),
    )
    add = parser.add_argument
    add("--from", dest="source", required=True, metavar="A", help="as of medslip convert: file, directory or hub id")
    add("--to", required=True, metavar="B", help=".zip (StableHLO) or .onnx")
    add("--image_size", type=int, help="sides in pixels; the model's own by default")
    add("--books", metavar="FILE.npz", help="text tables, where A has none")
    add("--platforms", help=f"of StableHLO ({','.join(PLATFORMS)})")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of StableHLO's computations (%(default)s)")
    add("--overwrite", action="store_true", help="replace B")
    return parser
