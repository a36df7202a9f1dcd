"""The page of `medslip report`: one HTML file on a run and its results that asks nothing of the network."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from html import escape

from medslip_jax.evaluation.result_files import Results, reading
from medslip_jax.report.contents.html import HEAD, STYLE, facts, section
from medslip_jax.report.run.calibration import calibration
from medslip_jax.report.run.curves import curves
from medslip_jax.report.run.gallery import Case, gallery
from medslip_jax.report.run.grounding import grounding
from medslip_jax.report.run.html import RUN_STYLE, folded, quiet
from medslip_jax.report.run.pairs import pairs
from medslip_jax.report.run.scores import classification, query_sentences, subgroups, thresholds_from
from medslip_jax.report.run.training import training

_TITLES = {"pathology": "Pathologies", "targets": "Queries given as text"}


@dataclasses.dataclass(frozen=True)
class RunContents:
    """What the page is made of.

    run: its path, as text. results: as read.
    training: lines of metrics.jsonl, or None; unreadable: how many more could not be read.
    cases: of the gallery; no_cases: why there are none, "" to leave the section out.
    warnings: lines that a reader must see before any number.
    """

    run: str
    results: Results
    training: Sequence[Mapping] | None = None
    unreadable: int = 0
    cases: Sequence[Case] = ()
    no_cases: str = ""
    warnings: Sequence[str] = ()


def page(contents: RunContents) -> str:
    """The whole page as text; `InputError` where results without hashes lack a number."""
    with reading(contents.results):
        return _page(contents)


def _page(contents: RunContents) -> str:
    results, metrics = contents.results, contents.results.metrics
    sections = metrics["classification"]
    kind = "Classification" if "training" in metrics else "Zero-shot classification"
    title = f"Run {contents.run}"
    body = (
        f"<h1>{escape(title)}</h1>",
        '<p><b>Not for clinical use.</b> <span class="quiet">Images and reports are under the licence of their data '
        "set, on this page too.</span></p>",
        *(f'<p class="warn">{escape(line)}</p>' for line in contents.warnings),
        facts(_head(contents)),
        section("Training", training(contents.training, unreadable=contents.unreadable)),
        section(kind, _tables(metrics)),
        section("ROC and precision-recall curves", _by_section(results, lambda name: curves(results.judged(name)))),
        section("Calibration", _by_section(results, lambda name: calibration(sections[name].get("calibration")))),
        section("Subgroups", _by_section(results, lambda name: subgroups(sections[name].get("subgroups") or {}))),
        section("Grounding", grounding(metrics["grounding"]) if metrics.get("grounding") else ""),
        section("Anatomies and pathologies: predicted and true", pairs(results.arrays)),
        section("Cases", gallery(contents.cases) if contents.cases else quiet(contents.no_cases)),
    )
    style = f"<style>{STYLE}{RUN_STYLE}</style>"
    return f"{HEAD}<title>{escape(title)}</title>{style}</head><body>{''.join(body)}</body></html>\n"


def _by_section(results: Results, draw: Callable[[str], str]) -> str:
    """What is drawn of each judged section, under a title of its own where there is more than one."""
    bodies = {name: body for name in results.sections if (body := draw(name))}
    titled = len(results.sections) > 1
    return "".join((f"<h3>{_TITLES[name]}</h3>" if titled else "") + body for name, body in bodies.items())


def _tables(metrics: Mapping) -> str:
    """One table a section: pathologies, queries given as text with their sentences, anatomies folded."""
    sections, parts = metrics["classification"], []
    if "pathology" in sections:
        parts.append(classification(sections["pathology"], what="pathology"))
    if "targets" in sections:
        texts = (metrics.get("prompts") or {}).get("texts") or {}
        parts.append(classification(sections["targets"], what="query given as text"))
        parts.append(query_sentences(sections["targets"], texts))
    if "anatomy" in sections:
        body = classification(sections["anatomy"], what="anatomy")
        parts.append(folded("anatomies: is the anatomy mentioned in the report?", body))
    return "".join(parts)


def _head(contents: RunContents) -> dict[str, str]:
    """The head of the page: what was judged, on what, and the hashes that tell two results apart."""
    result, arrays = contents.results.metrics, contents.results.arrays
    checkpoint, data, books = (result.get(key) or {} for key in ("checkpoint", "data", "books"))
    images, patients = len(arrays["image_id"]), len(set(arrays["patient_id"].tolist()))
    preprocessing = (f"{key}: {value}" for key, value in (result.get("preprocessing") or {}).items())
    return {
        "results": contents.results.path,
        "checkpoint": str(checkpoint.get("path", "unknown")),
        "checkpoint sha256": str(checkpoint.get("sha256", "unknown")),
        "data": f"{data.get('name', 'unknown')}, split {data.get('split', 'unknown')}",
        "images": f"{images:,} of {patients:,} patients",
        "image ids sha256": str(data.get("ids_sha256", "unknown")),
        "preprocessing": "; ".join(preprocessing).replace("_", " "),
        "text tables": f"{books.get('encoder', 'unknown')}, {books.get('tables', 'unknown')}",
        "thresholds from": thresholds_from(result),
        "seed": str(result.get("seed", "unknown")),
        "medslip_jax": str(result.get("medslip_jax", "unknown")),
    }
