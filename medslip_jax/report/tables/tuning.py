"""Segmentation results as a plain-text table."""

from collections.abc import Mapping

from medslip_jax.report.tables.cells import Table, with_interval
from medslip_jax.report.tables.classification import classification_table


def segmentation_table(section: Mapping) -> Table:
    """One line a target of `finetuning.parts.segmentation_result`: Dice and IoU with their intervals over patients."""
    rows = []
    for name, row in section["targets"].items():
        means = row["intervals"]["means"]
        kinds = ("dice_pooled", "dice_all", "dice_positive", "dice_negative", "iou")
        cells = [with_interval(row[key], means.get(key)) for key in kinds]
        rows.append([name, row["n_positive"], row["n_negative"], *cells])
    first = next(iter(section["targets"].values()))["intervals"]
    note = (
        f"[low, high]: {100 * first['level']:g} % interval, {first['method']}, {first['resamples']} resamples of "
        f"{first['n_patients']} patients. Masks of {section['size']} x {section['size']} pixels, "
        f"probability > {section['threshold']:g}. The Dice numbers are not comparable with one another."
    )
    head = ["target", "n+", "n-", "Dice, pooled", "Dice, all images", "positives", "negatives", "IoU"]
    return Table(head, rows, [note], left=(0, 3, 4, 5, 6, 7))


def summary(result: Mapping) -> str:
    """The table that the command prints."""
    best = result["checkpoint"]
    chosen = f"best by validation: step {best['step']}, {best['metric']} {best['value']:.3f}"
    if "segmentation" in result:
        return f"{chosen}\n\n{segmentation_table(result['segmentation'])}"
    section = result["classification"]["pathology"]
    table = classification_table(section["report"], intervals=section["intervals"], threshold_source="validation")
    return f"{chosen}\n\n{table}"
