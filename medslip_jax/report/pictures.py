"""What `medslip evaluate` draws beside its numbers: reliability.png, heatmaps.png and grounding.txt."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.images import decode_grey
from data_pipelines.records import Source
from medslip_jax.evaluation.grounding_cases import attention_grids, grounding_cases
from medslip_jax.evaluation.run import Evaluation
from medslip_jax.report.overlays import OverlayRow, overlay_grid
from medslip_jax.report.reliability import reliability_grid
from medslip_jax.report.tables.grounding import grounding_tables
from medslip_jax.storage.files import write_bytes
from medslip_jax.vocabulary import pathology_index

FILES = ("reliability.png", "heatmaps.png", "grounding.txt")


def write_pictures(evaluation: Evaluation, out: Path) -> None:
    """Writes `FILES` below `out`, and removes those of an earlier call that this one does not make."""
    metrics, task = evaluation.metrics, evaluation.task
    if "grounding" in metrics:
        write_bytes(out / "grounding.txt", grounding_tables(metrics["grounding"]).encode())
    else:
        (out / "grounding.txt").unlink(missing_ok=True)
    title = f"{metrics['data']['name']} {metrics['data']['split']}"
    calibration = _all_calibration(metrics["classification"])
    reliability_grid(calibration, out / "reliability.png", title=f"{title}: calibration")
    count = task.protocol.pictures
    rows = overlay_rows(evaluation.scores, task.source, classes=task.map_classes, count=count) if count else []
    if rows:
        overlay_grid(rows, out / "heatmaps.png", title=f"{title}: true boxes and attention")
    else:
        (out / "heatmaps.png").unlink(missing_ok=True)


def _all_calibration(sections: Mapping) -> dict:
    """The pathologies' calibration with that of the queries given as text."""
    parts = [sections[name]["calibration"] for name in ("pathology", "targets") if name in sections]
    classes = {name: row for part in parts for name, row in part["classes"].items()}
    known = [row["ece"] for row in classes.values() if row["ece"] is not None]
    return {"classes": classes, "macro": {"ece": float(np.mean(known))}}


def overlay_rows(test: Mapping, source: Source, *, classes: Sequence[str], count: int) -> list[OverlayRow]:
    """`count` cases taken in turn from the classes, the first marked images of each: chosen by order, not by result."""
    queues = [(name, column, list(grounding_cases(test, name).index)) for column, name in enumerate(classes)]
    rows: list[OverlayRow] = []
    while len(rows) < count and any(queue for _, _, queue in queues):
        for name, column, queue in queues:
            if queue and len(rows) < count:
                rows.append(_overlay_row(test, source, row=queue.pop(0), name=name, column=column))
    return rows


def _overlay_row(test: Mapping, source: Source, *, row: int, name: str, column: int) -> OverlayRow:
    wanted = pathology_index(name)
    record = source[int(test["index"][row])]
    return OverlayRow(
        image=decode_grey(record["image"], name=record["image_id"]),
        attention=attention_grids(test["pathology_map"][row, column]),
        name=name,
        boxes=np.array([a["box"] for a in record["annotations"] if a["pathology"] == wanted]),
        probability=float(test["pathology"][row, wanted]),
        truth={1: "present", 0: "absent", -1: "unknown"}[int(test["labels"][row, wanted])],
    )
