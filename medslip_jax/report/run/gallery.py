"""The gallery of the page on a run: an X-ray, its heat maps, true boxes, the decision and the report, a card a case."""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from data_pipelines import images
from medslip_jax.evaluation.grounding_cases import attention_grids
from medslip_jax.evaluation.metrics.regions import upsample_strided
from medslip_jax.report.contents.cards import figure, shape
from medslip_jax.report.html import folded, paragraph, quiet
from medslip_jax.report.overlays import TRUTH, blend
from medslip_jax.report.run.cases import RULE, Choice
from medslip_jax.report.sheet import jpeg_source, small
from medslip_jax.vocabulary import PATHOLOGIES

_QUALITY = 80
_EXCERPT = 110  # letters of a report that stand on its card


@dataclasses.dataclass(frozen=True)
class Case:
    """A chosen image with its record and maps: pathology float (h, w) or None, anatomy likewise."""

    choice: Choice
    record: Mapping
    pathology_map: np.ndarray | None = None
    anatomy_map: np.ndarray | None = None


def case_of(choice: Choice, record: Mapping, predictions: Mapping[str, np.ndarray]) -> Case:
    """Takes the maps of the choice's class and image out of the arrays of `predictions.npz`.

    A query given as text has none: a map under its name is that of the class which is called so too.
    """
    mapped = [str(name) for name in predictions.get("map_names", ())]
    pathology = anatomy = None
    if choice.section == "pathology" and choice.name in mapped:
        pathology = attention_grids(predictions["pathology_map"][choice.row, mapped.index(choice.name)])
    if "anatomy_map" in predictions:
        anatomy = attention_grids(predictions["anatomy_map"][choice.row])
    return Case(choice, record, pathology, anatomy)


def gallery(cases: Sequence[Case]) -> str:
    """The section's body."""
    about = (
        "Cyan: true boxes of the class; a finding without one has none in the data. Yellow to red: "
        "attention, divided by its own maximum in each picture, so that colours compare places and not images; drawn "
        "where the network looks (aligned with its stride). The anatomy map is the mean over all anatomies. On the "
        "bar: probability, and the threshold as a black line."
    )
    return paragraph(RULE) + paragraph(about) + f'<div class="cases">{"".join(map(_card, cases))}</div>'


def _card(case: Case) -> str:
    choice, record = case.choice, case.record
    # Without its mask, which would hide what is in a small box.
    index = PATHOLOGIES.index(choice.name) if choice.name in PATHOLOGIES else None
    boxes = [{**a, "mask": b""} for a in record["annotations"] if a["pathology"] == index]
    grey = small(images.decode_grey(record["image"], name=record["image_id"]))
    shots = [_shot(grey, boxes, "X-ray", about=record["image_id"])]
    for values, caption in ((case.pathology_map, f"{choice.name} map"), (case.anatomy_map, "anatomy map")):
        if values is not None:
            heat = upsample_strided(values[None], size=grey.shape)[0]
            shots.append(_shot(blend(grey, heat), boxes, caption, about=record["image_id"]))
    return (
        f'<article class="card"><div class="shots">{"".join(shots)}</div><div>'
        f"<h3>{escape(choice.name)}: {escape(choice.kind)}</h3>{_decision(choice, record)}"
        f"{_report(record['report'])}</div></article>"
    )


def _decision(choice: Choice, record: Mapping) -> str:
    sign = ">" if choice.probability > choice.threshold else "≤"
    truth = "absent" if choice.kind == "false positive" else "present"
    present = ", ".join(PATHOLOGIES[i] for i in np.flatnonzero(record["labels"] == 1)) or "none"
    decision = f"probability {choice.probability:.3f} {sign} threshold {choice.threshold:.3f} ({choice.source})"
    text = f"{decision}; label: {truth}"
    gauge = (
        f'<div class="bar gauge" role="img" aria-label="{escape(text)}"><i class="present" '
        f'style="width:{100 * choice.probability:.1f}%"></i><b style="left:{100 * choice.threshold:.1f}%"></b></div>'
    )
    about = f"image {record['image_id']}, patient {record['patient_id']}; all present labels: {present}"
    return paragraph(text) + gauge + quiet(about)


def _report(text: str) -> str:
    """The text, folded behind its beginning where it is long."""
    text = text.strip()
    if not text:
        return quiet("No report.")
    if len(text) <= _EXCERPT:
        return f"<blockquote>{escape(text)}</blockquote>"
    start = " ".join(text[:_EXCERPT].split())
    return folded(f"Report: {start} …", f"<blockquote>{escape(text)}</blockquote>")


def _shot(picture: np.ndarray, boxes: Sequence[Mapping], caption: str, *, about: str) -> str:
    height, width = picture.shape[:2]
    shapes = "".join(shape(annotation, TRUTH) for annotation in boxes)
    source = jpeg_source(picture, quality=_QUALITY)
    drawn = figure(source, shapes, width=width, height=height, about=f"{caption} of {about}")
    return f"<div>{drawn}{quiet(caption)}</div>"
