"""The plain parts of the pages: the document, tables, lists, folded parts, charts side by side. Text is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Literal

from medslip_jax.report.tables.cells import Table

# The policy keeps a browser from asking the network, or running anything, whatever a report holds.
_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
_STYLE = "\n" + (resources.files("medslip_jax.report") / "page.css").read_text(encoding="utf-8")
_NAME = 40  # letters of what is not broken into lines


class Markup(str):
    """Text of our own that is HTML already."""


def document(title: str, body: Sequence[str]) -> str:
    """A whole page of HTML parts, its style inside of it; `title` is not HTML."""
    style = f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"{_HEAD}{style}</head><body>{''.join(body)}</body></html>\n"


def section(title: str, body: str) -> str:
    """A headed part of the page, or nothing where it has no body."""
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Numbers stand to the right, fractions with three digits and None as a dash; everything else is escaped text."""
    headed = "".join(f"<th>{escape(name)}</th>" for name in head)
    return _scrolled(f"<tr>{headed}</tr>", rows)


def noted_table(content: Table) -> str:
    """A table with its notes below it."""
    return table(content.head, content.rows) + "".join(map(quiet, content.notes))


def counts_table(rows: Sequence[Sequence], *, first: str, groups: Sequence[str]) -> str:
    """Rows of (bar, name, then present, absent, unknown of every group)."""
    over = "".join(f'<th class="first" colspan="3">{escape(group)}</th>' for group in groups)
    under = '<th class="first">present</th><th>absent</th><th>unknown</th>' * len(groups)
    key = '<p class="key">bars:' + "".join(f'<i class="{k}"></i>{k}' for k in ("present", "absent", "unknown")) + "</p>"
    head = f'<tr><th rowspan="2"></th><th rowspan="2">{first}</th>{over}</tr><tr>{under}</tr>'
    return key + _scrolled(head, rows)


def bullets(lines: Sequence[str], *, at_most: int) -> str:
    """A list, with a last line on how many more there are."""
    more = [f"and {len(lines) - at_most} more"] if len(lines) > at_most else []
    items = "".join(f"<li>{escape(line)}</li>" for line in [*lines[:at_most], *more])
    return f"<ul>{items}</ul>" if items else ""


def facts(pairs: Mapping[str, str]) -> str:
    """Names and what they stand for, as a list; nothing where there are none."""
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs.items())
    return f"<dl>{items}</dl>" if items else ""


def quiet(text: str) -> str:
    """A paragraph in small grey: a note, or why a section has nothing to show; `text` is not HTML."""
    return f'<p class="quiet">{escape(text)}</p>'


def paragraph(text: str) -> str:
    """A paragraph; `text` is not HTML."""
    return f"<p>{escape(text)}</p>"


def folded(summary: str, body: str, *, paper: Literal["open", "left out"] = "open") -> str:
    """A part that opens on a click, and is open or left out on paper; nothing without a body.

    Args:
      summary: the line to click on; not HTML.
      body: HTML.
      paper: "left out" for what would fill many pages.
    """
    kind = ' class="screen"' if paper == "left out" else ""
    return f"<details{kind}><summary>{escape(summary)}</summary>{body}</details>" if body else ""


def side_by_side(charts: Sequence[str]) -> str:
    """Charts beside each other, as many as the page is wide."""
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def small_multiples(charts: Sequence[str], *, shown: int, more: str) -> str:
    """Charts beside each other; those past the first `shown` are folded under "N more: `more`"."""
    rest = charts[shown:]
    return side_by_side(charts[:shown]) + folded(f"{len(rest)} more {more}", side_by_side(rest))


def captioned(title: str, body: str, note: str = "") -> str:
    """One chart under its title, which like `note` is not HTML."""
    return f"<div><h3>{escape(title)}</h3>{body}{quiet(note) if note else ''}</div>"


def _scrolled(head: str, rows: Sequence[Sequence]) -> str:
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _cell(value) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    if isinstance(value, str):
        return f'<td class="{"name" if len(value) <= _NAME else "long"}">{escape(value)}</td>'
    if value is None or isinstance(value, float):
        return f'<td class="n">{"-" if value is None else f"{value:.3f}"}</td>'
    return f'<td class="n{"" if value else " zero"}">{int(value):,}</td>'
