"""The page of `medslip report`: one HTML file on a run and its results that asks nothing of the network."""

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from medslip_jax.report.contents_html import HEAD, STYLE, facts, section
from medslip_jax.report.run_calibration import calibration
from medslip_jax.report.run_curves import curves
from medslip_jax.report.run_gallery import Case, gallery
from medslip_jax.report.run_grounding import grounding
from medslip_jax.report.run_html import RUN_STYLE, folded, missing
from medslip_jax.report.run_pairs import pairs
from medslip_jax.report.run_scores import classification, subgroups
from medslip_jax.report.run_training import training


@dataclasses.dataclass(frozen=True)
class RunContents:
    """What the page is made of.

    run, results: paths, as text.
    result: what metrics.json holds. predictions: the arrays of predictions.npz.
    training: lines of metrics.jsonl, or None; unreadable: how many more could not be read.
    cases: of the gallery; no_cases: why there are none, "" to leave the section out.
    warnings: lines that a reader must see before any number.
    """

    run: str
    results: str
    result: Mapping
    predictions: Mapping[str, np.ndarray]
    training: Sequence[Mapping] | None = None
    unreadable: int = 0
    cases: Sequence[Case] = ()
    no_cases: str = ""
    warnings: Sequence[str] = ()


def page(contents: RunContents) -> str:
    """The whole page as text."""
    result, predictions = contents.result, contents.predictions
    scores = result["classification"].get("pathology") or {}
    title = f"Run {contents.run}"
    body = (
        f"<h1>{escape(title)}</h1>",
        '<p><b>Not for clinical use.</b> <span class="quiet">Images and reports are under the licence of their data '
        "set, on this page too.</span></p>",
        *(f'<p class="warn">{escape(line)}</p>' for line in contents.warnings),
        facts(about(contents)),
        section("Training", training(contents.training, unreadable=contents.unreadable)),
        section("Zero-shot classification", _tables(result["classification"])),
        section("ROC and precision-recall curves", curves(predictions)),
        section("Calibration", calibration(scores.get("calibration"))),
        section("Subgroups", subgroups(scores.get("subgroups") or {})),
        section("Grounding", grounding(result["grounding"]) if result.get("grounding") else ""),
        section("Anatomies and pathologies: predicted and true", pairs(predictions)),
        section("Cases", gallery(contents.cases) if contents.cases else missing(contents.no_cases)),
    )
    style = f"<style>{STYLE}{RUN_STYLE}</style>"
    return f"{HEAD}<title>{escape(title)}</title>{style}</head><body>{''.join(body)}</body></html>\n"


def _tables(sections: Mapping) -> str:
    """One table a section: pathologies, queries given as text ("targets"), anatomies folded."""
    parts = [classification(section, what=str(what)) for what, section in sections.items() if what != "anatomy"]
    if "anatomy" in sections:
        body = classification(sections["anatomy"], what="anatomy")
        parts.append(folded("anatomies: is the anatomy mentioned in the report?", body))
    return "".join(parts)


def about(contents: RunContents) -> dict[str, str]:
    """The head of the page: what was judged, on what, and the hashes that tell two results apart."""
    result, predictions = contents.result, contents.predictions
    checkpoint, data, books = (result.get(key) or {} for key in ("checkpoint", "data", "books"))
    images, patients = len(predictions["image_id"]), len(set(predictions["patient_id"].tolist()))
    preprocessing = (f"{key}: {value}" for key, value in (result.get("preprocessing") or {}).items())
    return {
        "results": contents.results,
        "checkpoint": str(checkpoint.get("path", "unknown")),
        "checkpoint sha256": str(checkpoint.get("sha256", "unknown")),
        "data": f"{data.get('name', 'unknown')}, split {data.get('split', 'unknown')}",
        "images": f"{images:,} of {patients:,} patients",
        "image ids sha256": str(data.get("ids_sha256", "unknown")),
        "preprocessing": "; ".join(preprocessing).replace("_", " "),
        "text tables": f"{books.get('encoder', 'unknown')}, {books.get('tables', 'unknown')}",
        "thresholds from": str(result.get("threshold_split") or "the judged split itself (test-oracle)"),
        "seed": str(result.get("seed", "unknown")),
        "medslip_jax": str(result.get("medslip_jax", "unknown")),
    }
