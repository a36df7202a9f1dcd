"""The page of `medslip data show`: what is in a data set, in one HTML file that asks nothing of the network."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from data_pipelines.datasets import Contents, RecordSource, by_kind, contents_of
from medslip_jax.report.contents import counts
from medslip_jax.report.contents.cards import card, evenly_spaced
from medslip_jax.report.html import bullets, document, facts, section, table
from medslip_jax.storage.files import write_bytes

_SAMPLES = 6  # of each split
_EXAMPLES = 3  # of each kind of drop
_NOTES = 20


def write_page(directory: str | Path, out: str | Path | None = None) -> Path:
    """Writes the page.

    Args:
      directory: of a built data set, OUT/NAME or a version below it.
      out: the HTML file; contents.html in `directory` by default.

    Returns:
      The file.

    Raises:
      InputError: no data set there, or `out` cannot be written.
    """
    out = Path(out or Path(directory) / "contents.html")
    text = page(contents_of(directory))
    write_bytes(out, text.encode())
    return out


def page(contents: Contents) -> str:
    """The whole page as text."""
    name = f"{contents.info.get('name', contents.directory.name)} {contents.info.get('version', '')}".strip()
    body = (
        f"<h1>{escape(name)}</h1><p>{escape(contents.info.get('description', ''))}</p>",
        '<p class="quiet">Its images and reports are under the licence of the data set, on this page too.</p>',
        section("Splits", _splits(contents)),
        section("Left out", _drops(contents.drops)),
        section("Notes", bullets(contents.notes, at_most=_NOTES)),
        section("Pathologies", counts.pathologies(contents)),
        section("Anatomies", counts.anatomies(contents)),
        section("Pathologies that occur together", counts.together(contents)),
        section("Pathologies at anatomies", counts.pairs(contents)),
        section("Samples", _samples(contents)),
        section("Options and policies", _metadata(contents.metadata)),
    )
    return document(name, body)


def _splits(contents: Contents) -> str:
    fields = ("records", "patients", "with_report", "with_box", "with_mask", "with_anatomy")
    rows = [[name, *(getattr(split, field) for field in fields)] for name, split in contents.splits.items()]
    return table(["split", *(field.replace("_", " ") for field in fields)], rows)


def _drops(drops: Sequence[Mapping]) -> str:
    """Rows by kind, with examples."""
    if not drops:
        return "<p>Nothing.</p>"
    rows = [
        [kind, len(found), "; ".join(f"row {drop['row']}: {drop['reason']}" for drop in found[:_EXAMPLES])]
        for kind, found in by_kind(drops)
    ]
    return table(["kind", "rows", "the first of them"], rows)


def _samples(contents: Contents) -> str:
    cards = []
    for name in contents.splits:
        source = RecordSource(contents.directory, name)
        cards += [card(source[i], split=name, number=i) for i in evenly_spaced(len(source), _SAMPLES)]
    said = f"Of each split up to {_SAMPLES}, evenly spaced in the order of the records; boxes and masks are the truth."
    return f'<p>{said}</p><div class="cards">{"".join(cards)}</div>'


def _metadata(metadata: Mapping) -> str:
    return facts(
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in metadata.items()
        }
    )
