"""What `medslip predict` writes: a table of probabilities, overlays, and a sheet of both."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_pipelines.images import printable
from medslip_jax.errors import InputError
from medslip_jax.evaluation.prediction import Prediction, class_maps, class_names, class_values
from medslip_jax.report.overlays import save_overlay
from medslip_jax.report.sheet import SheetCase, small, write_sheet
from medslip_jax.storage.files import made_directory, replacing_directory, write_bytes
from medslip_jax.vocabulary import ANATOMIES
from medslip_jax.weights.loading import Pretrained

OVERLAYS = "overlays"


def write_predictions(
    found: Iterable[Prediction],
    out: str | Path,
    *,
    pretrained: Pretrained,
    classes: Sequence[str],
    title: str,
    form: str = "csv",
    overlays: int = 3,
    sheet: int = 200,
) -> dict:
    """Writes predictions.csv (or .json), overlays/ and sheet.html below `out`, in place of those of an earlier call.

    Args:
      found: of the files, in order; may be a generator, of which a few images are in memory at a time.
      out: directory, made if need be.
      pretrained: the model.
      classes: that overlays may show.
      title: what the sheet says of the model.
      form: of the table, "csv" or "json".
      overlays: most probable classes drawn for each image.
      sheet: images with overlays and a card on the sheet, at most.

    Returns:
      {"table": its path, "images": how many, "failed": rows of the files that could not be read}.

    Raises:
      InputError: not one file could be read, or nothing can be written.
    """
    out = made_directory(out, flag="--out")
    rows: list[dict] = []
    cases: list[SheetCase] = []
    with replacing_directory(out / OVERLAYS) as directory:
        for number, one in enumerate(found):
            rows.append(row_of(one, pretrained))
            if not one.error and len(cases) < sheet:
                cases.append(_drawn(one, number, classes, out=directory, pretrained=pretrained, count=overlays))
        failed = [row for row in rows if row["error"]]
        if len(failed) == len(rows):
            raise InputError(f"not one file could be read, the first: {failed[0]['error']}")
    table = _write(out, rows, cases, form=form, checkpoint=title)
    return {"table": table, "images": len(rows), "failed": failed}


def row_of(found: Prediction, pretrained: Pretrained) -> dict:
    """{"file", "error", "notes", probabilities by name}; anatomies as "anatomy:NAME". Masks give their share."""
    row: dict[str, str | float] = {"file": printable(found.file), "error": found.error}
    row["notes"] = "; ".join(found.notes)
    names, outputs = class_names(pretrained), found.outputs
    if "anatomy_probability" in outputs:
        row |= {f"anatomy:{name}": float(p) for name, p in zip(ANATOMIES, outputs["anatomy_probability"], strict=True)}
    prefix = "share:" if "mask_probability" in outputs else ""
    return row | (
        {f"{prefix}{n}": float(v) for n, v in zip(names, class_values(outputs), strict=True)} if outputs else {}
    )


def _drawn(
    found: Prediction, number: int, classes: Sequence[str], *, out: Path, pretrained: Pretrained, count: int
) -> SheetCase:
    """Writes the overlays of the `count` most probable of the chosen classes, and keeps what the sheet shows."""
    names, outputs, heats = class_names(pretrained), found.outputs, []
    maps = class_maps(outputs)
    values = outputs["mask_probability"].max(axis=(0, 1)) if "mask_probability" in outputs else class_values(outputs)
    order = sorted((names.index(name) for name in classes), key=lambda i: -values[i])
    for index, heat in ((i, maps[i]) for i in order[:count]) if maps is not None else ():
        label = re.sub(r"[^\w .+-]", "_", names[index])  # a fine-tuned class may be called "mass/nodule"
        save_overlay(found.image, heat, out / f"{number:05d}_{printable(found.file.stem)}_{label}.png")
        heats.append((names[index], heat))
    probabilities = {names[i]: float(values[i]) for i in order[: max(count, 10)]}
    return SheetCase(printable(found.file.name), small(found.image), probabilities, tuple(heats), found.notes)


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
