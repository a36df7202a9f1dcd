"""`medslip predict --checkpoint A --images FILE_DIRECTORY_OR_GLOB --out DIR`: probabilities and overlays of any images.

Writes predictions.csv (or .json), overlays/ and sheet.html below DIR, in place of those of an earlier call: overlays/
is replaced whole. A file that cannot be read is listed with its reason and the rest goes on; the exit code is then 1.
Not for clinical use.
"""

import argparse
from pathlib import Path

from data_pipelines.images import ImagePolicy, add_image_flags, given_image
from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.evaluation.prediction import chosen_classes, find_images, predict
from medslip_jax.report.predictions import OVERLAYS, write_predictions
from medslip_jax.weights import load


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or 1 if some files could not be read; `InputError` if none could, or for bad flags."""
    args = _parser().parse_args(argv)
    if args.batch_size < 1 or args.overlays < 0:
        raise InputError("--batch_size must be at least 1 and --overlays at least 0")
    out = Path(args.out)
    # Overlays of an earlier call are no X-rays, wherever DIR lies.
    files = find_images(args.images, but=out / OVERLAYS)
    policy = ImagePolicy(**({"resize": "squash"} | given_image(args)))
    pretrained = load(args.checkpoint, books=args.books)["pretrained"]
    written = write_predictions(
        predict(pretrained, files, batch_size=args.batch_size, policy=policy),
        out,
        pretrained=pretrained,
        classes=chosen_classes(pretrained, args.classes),
        title=args.checkpoint,
        form=args.format,
        overlays=args.overlays,
        sheet=args.sheet,
    )
    failed = written["failed"]
    print(f"{written['images'] - len(failed)} of {written['images']} images: {written['table']}, {out / 'sheet.html'}")
    for row in failed[:5]:
        print(f"  not read: {row['error']}")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "predict", 'medslip predict --checkpoint runs/a --images "scans/*.dcm" --out out', description=__doc__
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="A", help="as of medslip convert --from: run, file, directory or hub id")
    add("--images", required=True, help="an image file, a directory, or a quoted glob pattern")
    add("--out", required=True, metavar="DIR", help="results; made if need be")
    add("--format", choices=("csv", "json"), default="csv", help="of the table (%(default)s)")
    add("--classes", metavar="A,B,...", help="that overlays show; all but normal ones by default")
    add("--overlays", type=int, default=3, help="most probable classes drawn for each image (%(default)s)")
    add("--sheet", type=int, default=200, help="images with overlays and a card on the sheet, at most (%(default)s)")
    add("--batch_size", type=int, default=16, help="images of a step over all devices (%(default)s)")
    add("--books", metavar="FILE.npz", help="text tables, where A has none")
    add_image_flags(parser, say="defaults: lut, tagged, full, none, squash")
    return parser
