"""`medslip export --from A --to B`: a model as a file for serving, which needs none of this package's code.

B ends with .zip for StableHLO (JAX, any batch size, CPU, GPU and TPU) or with .onnx for ONNX (extra [onnx]). Grey
uint8 images go in; probabilities and attention maps come out. Weights, text tables and normalisation are inside.
"""

import argparse
from pathlib import Path

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.weights.export import export
from medslip_jax.weights.export.stablehlo import PLATFORMS
from medslip_jax.weights.export.versions import written_with


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for a model that cannot be used or a target that may not be written."""
    args = _parser().parse_args(argv)
    to = Path(args.to)
    size = export(
        args.source,
        to,
        image_size=args.image_size,
        books=args.books,
        platforms=args.platforms.split(",") if args.platforms else (),
        dtype=args.dtype,
        overwrite=args.overwrite,
    )
    promise = f"; {written_with()['promise']}" if to.suffix == ".zip" else ""
    print(f"written: {to} ({to.stat().st_size / 1e6:.1f} MB); uint8 (batch, {size}, {size}) in{promise}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "export",
        "medslip export --from runs/a --to model.zip",
        "medslip export --from runs/a --to model.onnx --image_size 224",
        description=__doc__,
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
