"""The plain parts of the page on a data set: head, style, tables and lists. Every string from the data is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

# The policy keeps a browser from asking the network, or running anything, whatever a report holds.
HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#123;background:#fff;max-width:1200px;margin:0 auto;padding:12px}
h1{margin:.3em 0 0}h2{margin:1.6em 0 .4em;border-bottom:1px solid #cdd}h3{margin:.2em 0;font-size:1em}
h1,h3,p,li,blockquote,td.long{overflow-wrap:anywhere}p,ul{margin:.3em 0}
.quiet{color:#567;font-size:.87em}.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.87em}th,td{padding:2px 8px;border-bottom:1px solid #e3e9ee;vertical-align:top}
th{text-align:left;font-weight:600;background:#f2f5f8}td.n{text-align:right;white-space:nowrap}
td.name{white-space:nowrap}td.long{min-width:220px}.zero{color:#9ab}td.first,th.first{border-left:2px solid #cdd}
.bar{display:flex;width:120px;height:12px;margin-top:4px;background:#e8edf1}.bar i{display:block;height:100%}
.key i{display:inline-block;width:12px;height:12px;margin:0 4px 0 12px;vertical-align:-1px}
.present{background:#c2410c}.absent{background:#2b7bba}.unknown{background:#dde4ea}
svg.map{display:block;font:11px system-ui,sans-serif;fill:#123}svg.map .n{font-size:9px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,350px),1fr));gap:12px}
.card{border:1px solid #cdd;border-radius:6px;overflow:hidden;font-size:.87em}.card>div{padding:6px 10px}
figure{position:relative;margin:0 auto;width:fit-content;max-width:100%}
figure img{display:block;width:auto;height:auto;max-width:100%;max-height:420px;min-height:180px}
figure svg{position:absolute;inset:0;width:100%;height:100%}
.legend{list-style:none;padding:0}.legend b{display:inline-block;width:11px;height:11px;margin-right:6px}
.legend b,.bar,.key i,svg.map{print-color-adjust:exact;-webkit-print-color-adjust:exact}
blockquote{white-space:pre-wrap;margin:.5em 0;padding-left:8px;border-left:3px solid #cdd}
dl{display:grid;grid-template-columns:minmax(90px,max-content) 1fr;gap:2px 14px;font-size:.87em}
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}
@media(max-width:600px){.bar{width:60px}body{padding:10px}}
@media print{body{max-width:none;padding:0;font-size:11px}
.card,tr,svg.map{break-inside:avoid}h2,section>p{break-after:avoid}
.scroll{overflow:visible}svg.map{max-width:100%;max-height:24cm;height:auto}figure img{max-height:7cm}
.cards{grid-template-columns:1fr 1fr}}
"""


_NAME = 40  # letters of what is not broken into lines


class Markup(str):
    """Text of our own that is HTML already."""


def section(title: str, body: str) -> str:
    """A headed part of the page, or nothing where it has no body."""
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Numbers stand to the right, fractions with three digits and None as a dash; everything else is escaped text."""
    headed = "".join(f"<th>{escape(name)}</th>" for name in head)
    return _scrolled(f"<tr>{headed}</tr>", rows)


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
