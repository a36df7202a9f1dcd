"""The parts of the page of `medslip serve` that are plain HTML. Every string from outside is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

import numpy as np

from medslip_jax.demo_page.answers import Answer, finding_name
from medslip_jax.report.overlays import blend
from medslip_jax.report.sheet import jpeg_source, small
from medslip_jax.vocabulary import NORMAL_OBSERVATIONS

TOP = 12  # rows shown where no class was chosen; the others unfold
_SIDE = 768  # pixels of the picture's longer side at most

EMPTY = '<p class="ms-quiet">The X-ray, its heat map and the probabilities appear here.</p>'
STYLE = (resources.files("medslip_jax.demo_page") / "page.css").read_text(encoding="utf-8")


def heading(*, source: str, kind: str) -> str:
    what = {"medslip": "pre-training model", "classifier": "classifier", "segmenter": "segmenter"}[kind]
    return (
        f'<div class="ms-head"><h1>Chest X-ray reading by MeDSLIP</h1><p class="ms-warn">Not for clinical use.</p>'
        f'<p class="ms-quiet">{escape(source)}, {what}. Nothing leaves this machine; an uploaded file is deleted from '
        "its disk once it is read.</p></div>"
    )


def error(message: str) -> str:
    """One line for what went wrong."""
    return f'<div class="ms-error" role="alert">{escape(message)}</div>'


def notes(found: Sequence[str]) -> str:
    """What `images.suspicions` found odd."""
    return f'<div class="ms-note" role="status">Note: {escape("; ".join(found))}</div>' if found else ""


def probabilities(answer: Answer, *, chosen: Sequence[str] = (), kind: str = "medslip") -> str:
    """A table with bars, most probable first: the finding, the chosen classes or the first `TOP` abnormal ones, and all
    classes to unfold."""
    values = answer.probabilities
    rest = {name: value for name, value in values.items() if name not in NORMAL_OBSERVATIONS}
    shown = _ordered({name: values[name] for name in chosen} if chosen else rest)
    rows = list(shown.items()) if chosen else list(shown.items())[:TOP]
    if answer.finding_probability is not None:
        rows.insert(0, (finding_name(answer.finding), answer.finding_probability))
    parts = [_table(rows)]
    if len(shown) < len(values) or (len(shown) > TOP and not chosen):
        everything = _table(_ordered(values).items())
        parts.append(f'<details class="ms-all"><summary>All {len(values)} classes</summary>{everything}</details>')
    says = "Share of the image that the mask covers" if kind == "segmenter" else "Probability of being present"
    if answer.finding_probability is not None:
        says += "; a finding in your own words was never trained, read its number with doubt"
    return f'<p class="ms-quiet">{says}.</p>{"".join(parts)}'


def pictures(image: np.ndarray, *, name: str, heat: np.ndarray | None = None, title: str = "") -> str:
    """The X-ray (uint8 H, W), and beside it the same under its heat map (float h, w) if there is one."""
    grey = small(image, side=_SIDE)
    figures = [_figure(jpeg_source(grey), name, kind="xray")]
    if heat is not None:
        figures.append(_figure(jpeg_source(blend(grey, heat)), title, kind="heat"))
    caption = "Colours are relative to the map's own maximum: they compare places, not images or classes."
    below = f'<p class="ms-quiet">{caption}</p>' if heat is not None else ""
    return f'<div class="ms-pictures">{"".join(figures)}</div>{below}'


def by_probability(answer: Answer, chosen: Sequence[str] = ()) -> list[str]:
    """Names that have a map: the finding, the chosen or abnormal classes, the rest; each group most probable first."""
    if not answer.maps:
        return []
    order = list(_ordered(answer.probabilities))
    wanted = [name for name in order if (name in chosen if chosen else name not in NORMAL_OBSERVATIONS)]
    own = [finding_name(answer.finding)] if answer.finding else []
    return [*own, *wanted, *(name for name in order if name not in wanted)]


def _ordered(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))


def _table(rows) -> str:
    return f'<table class="ms-table"><tbody>{"".join(_row(name, value) for name, value in rows)}</tbody></table>'


def _row(name: str, value: float) -> str:
    bar = f'<div class="ms-bar"><i style="width:{100 * value:.1f}%"></i></div>'
    return (
        f'<tr data-name="{escape(name)}" data-value="{value:.7g}"><td>{escape(name)}</td><td>{bar}</td>'
        f"<td>{value:.3f}</td></tr>"
    )


def _figure(source: str, caption: str, *, kind: str) -> str:
    text = escape(caption)
    return f'<figure><img class="ms-{kind}" src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
