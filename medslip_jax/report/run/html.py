"""What the sections of the page on a run share: its style, folded parts, small multiples, intervals as text."""

from collections.abc import Sequence
from html import escape
from typing import Literal

# On top of `report.contents.html.STYLE`. Folded parts are open on paper; the name of a row stays in view on a phone.
RUN_STYLE = """
.chart{display:block;width:100%;height:auto;font:10.5px system-ui,sans-serif;fill:#234}.chart .grid{stroke:#e6ebf0}
.chart .label{fill:#567}svg.chart,.gauge{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:14px 20px}
.charts>div{min-width:0}.charts h3{font-size:.9em}.pair{display:flex;gap:6px}.pair>*{flex:1 1 0;min-width:0}
.lines{list-style:none;padding:0;font-size:.8em;display:flex;flex-wrap:wrap;gap:0 12px}.lines svg{margin-right:5px}
details{margin:.5em 0}summary{cursor:pointer;color:#0a5a9c;overflow-wrap:anywhere}
.scroll td:first-child,.scroll thead tr:first-child th:first-child{position:sticky;left:0;background:#fff}
.scroll thead tr:first-child th:first-child{background:#f2f5f8}
.scroll td.name:first-child{white-space:normal;overflow-wrap:normal}
.warn{border-left:4px solid #d55e00;padding-left:8px}
.cases{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,520px),1fr));gap:12px}
.shots{display:grid;grid-template-columns:repeat(3,1fr);gap:3px;background:#fff;padding:0}.shots p{margin:2px 4px}
.card>div.shots{padding:0}.shots figure{width:100%}.shots img{width:100%;min-height:0;max-height:none}
.gauge{position:relative;width:100%;height:12px;margin:5px 0}
.gauge b{position:absolute;top:-3px;bottom:-3px;width:2px;background:#123}
.maps>div{min-width:0;margin-bottom:16px}
@media screen and (min-width:1100px){.maps.beside{display:grid;grid-template-columns:1fr 1fr;gap:0 12px}
.beside svg.map{width:100%;height:auto}}
@media(max-width:600px){.shots{grid-template-columns:1fr 1fr}.shots>div:first-child{grid-column:1/-1}.gauge{width:100%}
th,td{padding:2px 5px}}
@media print{details.screen{display:none}details::details-content{content-visibility:visible;height:auto}
summary{color:#123}section>p{break-inside:avoid}
.charts{grid-template-columns:repeat(3,1fr);gap:8px}.cases{grid-template-columns:1fr 1fr}
.charts>div,.maps>div,dl,.pair{break-inside:avoid}.shots img{max-height:none}thead{display:table-header-group}
.scroll td:first-child,.scroll th:first-child{position:static}blockquote{max-height:none}.scroll table{font-size:8px}
.scroll th,.scroll td{padding:1px 4px}td.long{min-width:90px}}
"""


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
    under = f'<p class="quiet">{escape(note)}</p>' if note else ""
    return f"<div><h3>{escape(title)}</h3>{body}{under}</div>"
