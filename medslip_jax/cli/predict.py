"""`medslip predict --checkpoint A --images FILE_DIRECTORY_OR_GLOB --out DIR`: probabilities and overlays of any images.

Writes predictions.csv (or .json), overlays/ and sheet.html below DIR, in place of those of an earlier call: overlays/
is replaced whole. A file that cannot be read is listed with its reason and the rest goes on; the exit code is then 1.
Not for clinical use.
"""

import argparse
import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipelines.images import ImagePolicy
from medslip_jax.cli.help_layout import help_layout
from medslip_jax.errors import InputError
from medslip_jax.evaluation.prediction import Prediction, find_images, predict
from medslip_jax.models.kinds import kind_of
from medslip_jax.report.overlays import save_overlay
from medslip_jax.report.sheet import SheetCase, small, write_sheet
from medslip_jax.storage.files import made_directory, replacing_directory, write_bytes
from medslip_jax.vocabulary import ANATOMIES, NORMAL_OBSERVATIONS, PATHOLOGIES
from medslip_jax.weights.loading import Pretrained, load

_OVERLAYS = "overlays"


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or 1 if some files could not be read; `InputError` if none could, or for bad flags."""
    args = _parser().parse_args(argv)
    if args.batch_size < 1 or args.overlays < 0:
        raise InputError("--batch_size must be at least 1 and --overlays at least 0")
    out = Path(args.out)
    # Overlays of an earlier call are no X-rays, wherever DIR lies.
    files = find_images(args.images, but=out / _OVERLAYS)
    pretrained = load(args.checkpoint, books=args.books)["pretrained"]
    classes = chosen_classes(pretrained, args.classes)
    made_directory(out, flag="--out")
    found = predict(pretrained, files, batch_size=args.batch_size, policy=ImagePolicy(polarity=args.polarity))
    rows, cases = [], []
    with replacing_directory(out / _OVERLAYS) as overlays:
        for number, one in enumerate(found):
            rows.append(row_of(one, pretrained))
            if not one.error and len(cases) < args.sheet:
                cases.append(_drawn(one, number, classes, out=overlays, pretrained=pretrained, count=args.overlays))
        failed = [row for row in rows if row["error"]]
        if len(failed) == len(rows):
            raise InputError(f"--images {args.images}: not one file could be read, the first: {failed[0]['error']}")
    target = _write(out, rows, cases, form=args.format, checkpoint=args.checkpoint)
    print(f"{len(rows) - len(failed)} of {len(rows)} images: {target}, {out / 'sheet.html'}")
    for row in failed[:5]:
        print(f"  not read: {row['error']}")
    return int(bool(failed))


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


def class_names(pretrained: Pretrained) -> list[str]:
    """Names of the model's probabilities: the 75 pathologies, or a fine-tuned model's own classes."""
    if kind_of(pretrained.config) == "medslip":
        return list(PATHOLOGIES)
    given = (pretrained.info.get("classes") or {}).get("targets")
    return list(given) if given else [f"class_{i}" for i in range(pretrained.config.num_classes)]


def row_of(found: Prediction, pretrained: Pretrained) -> dict:
    """{"file", "error", "notes", probabilities by name}; anatomies as "anatomy:NAME". Masks give their share."""
    row = {"file": str(found.file), "error": found.error, "notes": "; ".join(found.notes)}
    names, outputs = class_names(pretrained), found.outputs
    if "anatomy_probability" in outputs:
        row |= {f"anatomy:{name}": float(p) for name, p in zip(ANATOMIES, outputs["anatomy_probability"], strict=True)}
    if "mask_probability" in outputs:
        values = (outputs["mask_probability"] > 0.5).mean(axis=(0, 1))
        return row | {f"share:{name}": float(p) for name, p in zip(names, values, strict=True)}
    key = "pathology_probability" if "pathology_probability" in outputs else "probability"
    return row | ({name: float(p) for name, p in zip(names, outputs[key], strict=True)} if outputs else {})


def _drawn(
    found: Prediction, number: int, classes: Sequence[str], *, out: Path, pretrained: Pretrained, count: int
) -> SheetCase:
    """Writes the overlays of the `count` most probable of the chosen classes, and keeps what the sheet shows."""
    names, heats = class_names(pretrained), []
    outputs = found.outputs
    key = next(k for k in ("pathology_probability", "probability", "mask_probability") if k in outputs)
    values = outputs[key].max(axis=(0, 1)) if key == "mask_probability" else outputs[key]
    order = sorted((names.index(name) for name in classes), key=lambda i: -values[i])
    for index in order[:count]:
        heat = _heat(outputs, index)
        if heat is not None:
            label = re.sub(r"[^\w .+-]", "_", names[index])  # a fine-tuned class may be called "mass/nodule"
            file = out / f"{number:05d}_{found.file.stem}_{label}.png"
            save_overlay(found.image, heat, None, file)
            heats.append((names[index], heat))
    probabilities = {names[i]: float(values[i]) for i in order[: max(count, 10)]}
    return SheetCase(found.file.name, small(found.image), probabilities, tuple(heats), found.notes)


def _heat(outputs, index: int) -> np.ndarray | None:
    """The map of a class: attention, or the probability of its mask; a plain classifier has none."""
    if "pathology_attention" in outputs:
        return outputs["pathology_attention"][index]
    return outputs["mask_probability"][..., index] if "mask_probability" in outputs else None


def _write(out: Path, rows: Sequence[dict], cases: Sequence[SheetCase], *, form: str, checkpoint: str) -> Path:
    """The table, whose path is returned, and the sheet; a table in the other form would be of an earlier call."""
    target = out / f"predictions.{form}"
    write_bytes(target, _table(rows, form))
    for other in {"csv", "json"} - {form}:
        (out / f"predictions.{other}").unlink(missing_ok=True)
    title = f"{len(cases)} of {len(rows)} images, {checkpoint}"
    write_sheet(out / "sheet.html", cases, title=title, failed=[row for row in rows if row["error"]])
    return target


def _table(rows: Sequence[dict], form: str) -> bytes:
    if form == "json":
        return (json.dumps(rows, indent=1, allow_nan=False) + "\n").encode()
    # A failed row has no probabilities; the first good one names the columns.
    columns = max(rows, key=len).keys()
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "medslip predict",
        **help_layout('medslip predict --checkpoint runs/a --images "scans/*.dcm" --out out', description=__doc__),
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
    add("--polarity", choices=("tagged", "as_stored", "inverted"), default="tagged", help="see images/policy.py")
    add("--books", metavar="FILE.npz", help="text tables, where A has none")
    return parser
