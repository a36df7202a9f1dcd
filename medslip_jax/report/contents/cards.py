"""The sample records of the page on a data set: each an image with its boxes and masks, its triplets and its report."""

import base64
import collections
import itertools
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np

from data_pipelines import images
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

# Apart from each other, bright on grey.
_COLOURS = ("#00e5ff", "#ffb000", "#ff5fa2", "#7dff6a", "#b79cff", "#ff6b4a")
_SIDE = 1000  # of the drawing over an image, whatever its pixels


def evenly_spaced(length: int, count: int) -> list[int]:
    """`count` positions at most, from the first to the last of `length`: (9, 3) -> 0, 4, 8."""
    return sorted({int(i) for i in np.linspace(0, length - 1, min(count, length)).round()})


def card(record: Mapping, *, split: str, number: int) -> str:
    """One record."""
    findings = _findings(record)
    lines = [
        f"<h3>{escape(split)} {number}: {escape(record['image_id'])}</h3>",
        f'<p class="quiet">patient {escape(record["patient_id"])}</p>',
        _legend(findings),
        _named("labels: present", [PATHOLOGIES[i] for i in np.flatnonzero(record["labels"] == 1)]),
        _named("dotted outlines", [ANATOMIES[annotation["anatomy"]] for annotation in _regions(record)]),
        _named("targets", [f"{name} = {value}" for name, value in record.get("targets", {}).items()]),
        _triplets(record["matrix"]),
        f"<blockquote>{escape(record['report'])}</blockquote>" if record["report"].strip() else "",
    ]
    return f'<article class="card">{_picture(record, findings)}<div>{"".join(lines)}</div></article>'


def _findings(record: Mapping) -> dict[str, list[Mapping]]:
    """{classes: an annotation a box}, for which a record has one a class: RSNA's mean both opacity and pneumonia."""
    same = collections.defaultdict(list)
    for annotation in record["annotations"]:
        if annotation["pathology"] >= 0:
            same[np.asarray(annotation["box"]).tobytes(), annotation["mask"]].append(annotation)
    found = collections.defaultdict(list)
    for group in same.values():
        found[" + ".join(PATHOLOGIES[annotation["pathology"]] for annotation in group)].append(group[0])
    return found


def _picture(record: Mapping, findings: Mapping[str, Sequence[Mapping]]) -> str:
    """The stored bytes of the image, under its boxes and masks as SVG."""
    data = record["image"]
    height, width = images.decode_grey(data, name=record["image_id"]).shape
    kind = "jpeg" if data.startswith(b"\xff\xd8") else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    # Anatomies first, so that they hide no finding.
    coloured = zip(findings.values(), itertools.cycle(_COLOURS), strict=False)
    shapes = "".join(map(_dotted, _regions(record)))
    shapes += "".join(shape(annotation, colour) for group, colour in coloured for annotation in group)
    return figure(source, shapes, width=width, height=height, about=f"X-ray {record['image_id']}")


def figure(source: str, shapes: str, *, width: int, height: int, about: str) -> str:
    """An image under shapes of 1000 x 1000 units, an SVG that is stretched over it; `about` is not HTML."""
    over = f'<svg viewBox="0 0 {_SIDE} {_SIDE}" preserveAspectRatio="none">{shapes}</svg>' if shapes else ""
    return f'<figure><img src="{source}" width="{width}" height="{height}" alt="{escape(about)}">{over}</figure>'


def shape(annotation: Mapping, colour: str) -> str:
    """The box of an annotation and its mask, for `figure`."""
    x0, y0, x1, y1 = (round(float(side) * _SIDE) for side in annotation["box"])
    outline = f'fill="none" stroke="{colour}" vector-effect="non-scaling-stroke"'
    box = f'<rect x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}" stroke-width="2" {outline} />'
    if not annotation["mask"]:
        return box
    area = f'fill="{colour}" fill-opacity="0.25" stroke="{colour}" vector-effect="non-scaling-stroke"'
    return f'{box}<path d="{_outlines(annotation["mask"])}" fill-rule="evenodd" stroke-width="1" {area} />'


def _regions(record: Mapping) -> list[Mapping]:
    """The annotations that mark an anatomy itself, such as a lung."""
    return [annotation for annotation in record["annotations"] if annotation["pathology"] < 0]


def _dotted(annotation: Mapping) -> str:
    """The edge of a region: its mask's, or its box without one."""
    (x0, y0, x1, y1), mask = (round(float(side) * _SIDE) for side in annotation["box"]), annotation["mask"]
    edge = _outlines(mask) if mask else f"M{x0} {y0}L{x1} {y0}L{x1} {y1}L{x0} {y1}Z"
    line = 'fill="none" stroke="#fff" stroke-opacity="0.7" stroke-dasharray="1 3" vector-effect="non-scaling-stroke"'
    return f'<path d="{edge}" stroke-width="1" {line} />'


def _outlines(mask: bytes) -> str:
    """The edges of a mask as an SVG path."""
    grey = images.decode_grey(mask, name="mask")
    found, _ = cv2.findContours((grey > 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = _SIDE / np.array(grey.shape[::-1])
    # Contours go through the centres of pixels.
    points = (np.rint((contour[:, 0] + 0.5) * scale).astype(int) for contour in found)
    return "".join("M" + "L".join(f"{x} {y}" for x, y in contour) + "Z" for contour in points)


def _legend(findings: Mapping[str, Sequence[Mapping]]) -> str:
    lines = []
    for (name, group), colour in zip(findings.items(), itertools.cycle(_COLOURS), strict=False):
        places = ", ".join(ANATOMIES[annotation["anatomy"]] for annotation in group if annotation["anatomy"] >= 0)
        where = f" ({places})" if places else f" ({len(group)} times)" if len(group) > 1 else ""
        lines.append(f'<li><b style="background:{colour}"></b>{escape(name + where)}</li>')
    return f'<ul class="legend">{"".join(lines)}</ul>' if lines else ""


def _triplets(matrix: np.ndarray) -> str:
    """What training sees: pathology at anatomy, first what is there."""
    return "".join(
        _named(title, [f"{PATHOLOGIES[p]} @ {ANATOMIES[a]}" for a, p in zip(*np.nonzero(matrix == value), strict=True)])
        for value, title in ((1, "triplets: present"), (0, "triplets: absent"))
    )


def _named(title: str, values: Sequence[str]) -> str:
    return f"<p><b>{title}</b> {escape(', '.join(values))}</p>" if values else ""
