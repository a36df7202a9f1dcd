"""What `medslip predict` writes: a table of probabilities, overlays, and a sheet of both."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.images import printable
from medslip_jax.errors import InputError
from medslip_jax.evaluation.prediction import Prediction, class_names
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
    rows, cases = [], []
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
    row = {"file": printable(found.file), "error": found.error, "notes": "; ".join(found.notes)}
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
            file = out / f"{number:05d}_{printable(found.file.stem)}_{label}.png"
            save_overlay(found.image, heat, None, file)
            heats.append((names[index], heat))
    probabilities = {names[i]: float(values[i]) for i in order[: max(count, 10)]}
    return SheetCase(printable(found.file.name), small(found.image), probabilities, tuple(heats), found.notes)


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
