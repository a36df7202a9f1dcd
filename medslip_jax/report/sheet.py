"""The HTML sheet of `medslip predict`: one card an image, in one file that asks nothing of the network."""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from data_pipelines import images
from medslip_jax.report.html import bullets, document, section
from medslip_jax.report.overlays import blend
from medslip_jax.storage.files import write_bytes

_SIDE = 384  # pixels of a picture's longer side at most; the overlays on disk have the image's own size


@dataclasses.dataclass(frozen=True)
class SheetCase:
    """A readable image: name, small grey uint8 (see `small`), probabilities in the order to show, (class, heat map)."""

    name: str
    image: np.ndarray
    probabilities: Mapping[str, float]
    heat: tuple[tuple[str, np.ndarray], ...] = ()
    notes: tuple[str, ...] = ()


def write_sheet(path: str | Path, cases: Sequence[SheetCase], *, title: str, failed: Sequence[Mapping] = ()) -> Path:
    """Writes the page; `failed` are rows with "error". Every string is escaped.

    Raises:
      InputError: the file cannot be written.
    """
    cards = f'<div class="cards">{"".join(map(_card, cases))}</div>'
    body = (
        f"<h1>{escape(title)}</h1>",
        '<p class="quiet"><b>Not for clinical use.</b> Colours compare places within an image, not images.</p>',
        section("Images", cards),
        section("Not read", bullets([row["error"] for row in failed], at_most=100)),
    )
    write_bytes(path, document(title, body).encode())
    return Path(path)


def small(image: np.ndarray, *, side: int = _SIDE) -> np.ndarray:
    """uint8 (H, W) shrunk until no side is longer than `side`, aspect kept."""
    scale = min(1.0, side / max(image.shape))
    height, width = (max(1, round(length * scale)) for length in image.shape)
    return images.resize(image, height=height, width=width)


def _card(case: SheetCase) -> str:
    pictures = "".join(_figure(blend(case.image, heat), name) for name, heat in case.heat)
    rows = "".join(_row(name, value) for name, value in case.probabilities.items())
    notes = f'<p class="quiet">{escape("; ".join(case.notes))}</p>' if case.notes else ""
    text = f"<div><h3>{escape(case.name)}</h3>{notes}<table>{rows}</table></div>"
    return f'<article class="card">{pictures or _figure(case.image, case.name)}{text}</article>'


def _row(name: str, value: float) -> str:
    bar = f'<span class="bar"><i class="present" style="width:{100 * value:.0f}%"></i></span>'
    return f'<tr><td class="name">{escape(name)}</td><td class="n">{value:.3f}</td><td>{bar}</td></tr>'


def jpeg_source(picture: np.ndarray, *, quality: int = 88) -> str:
    """Grey uint8 (h, w) or RGB (h, w, 3) as the `src` of an inline JPEG."""
    bgr = picture[..., ::-1] if picture.ndim == 3 else picture
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _figure(picture: np.ndarray, name: str) -> str:
    alt = escape(name)
    return f'<figure><img src="{jpeg_source(picture)}" alt="{alt}"></figure><p class="quiet">{alt}</p>'
