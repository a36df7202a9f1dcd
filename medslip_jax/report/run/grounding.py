"""The grounding section of the page on a run. What it does not know by name it shows as tables all the same."""

import json
from collections.abc import Mapping, Sequence

from medslip_jax.report.html import facts, folded, paragraph, table
from medslip_jax.report.tables.cells import with_interval

_WORDS = {
    "pointing_cell": "pointing game, arg-max cell",
    "pointing_pixel": "pointing game, arg-max pixel",
    "iou": "IoU",
    "dice": "Dice",
}
_VARIANTS = {"stride_aligned": "map aligned with the stride", "anatomy_weighted": "map times anatomy map"}
_SHORT = {
    "n_images": "images",
    "pointing_pixel": "pointing, pixel",
    "chance_pixel": "by chance, pixel",
    "pointing_cell": "pointing, cell",
    "chance_cell": "by chance, cell",
    "argmax_cells": "cells at the maximum",
    "iou": "IoU",
    "dice": "Dice",
}
_PAPER = 40  # lines up to which a folded table is printed
_SUMMARY = ("pointing_cell", "chance_cell", "pointing_pixel", "chance_pixel", "iou", "dice")


def grounding(found: Mapping) -> str:
    """The section's body, from metrics.json's "grounding": pooled numbers, classes, then whatever else there is."""
    about = {key: value for key, value in found.items() if not isinstance(value, Mapping | list)}
    parts = [facts({str(key): _text(value) for key, value in about.items()})]
    for key, value in sorted(found.items(), key=lambda item: item[0] != "pooled"):
        if key in about or not value:
            continue
        if key == "pooled":
            parts += [_pooled(str(group), row) for group, row in value.items()]
        elif key == "classes":
            parts.append(_classes(value))
        else:
            # A section of the same kind, such as anatomies, has the same tables.
            inner = isinstance(value, Mapping) and {"classes", "pooled"} & set(value)
            parts.append(folded(str(key).replace("_", " "), grounding(value) if inner else json_tables(value)))
    return "".join(parts)


def json_tables(value) -> str:
    """JSON as tables and lists: rows of scalars become a table, what is nested deeper is folded."""
    if isinstance(value, Mapping):
        flat = {str(key): _text(v) for key, v in value.items() if not isinstance(v, Mapping | list)}
        rows = {str(key): v for key, v in value.items() if _is_row(v)}
        rest = {str(key): v for key, v in value.items() if str(key) not in flat and str(key) not in rows}
        tabled = _rows([{"": key, **row} for key, row in rows.items()]) if rows else ""
        nested = (folded(key, json_tables(v)) for key, v in rest.items() if v)
        return facts(flat) + tabled + "".join(nested)
    if isinstance(value, list) and value and all(map(_is_row, value)):
        return _rows(value)
    return paragraph(_text(value))


def _is_row(value) -> bool:
    return isinstance(value, Mapping) and bool(value) and not any(isinstance(v, Mapping | list) for v in value.values())


def _pooled(group: str, row: Mapping) -> str:
    """Each mean with its interval and, of the pointing game, chance."""
    means, intervals, chance = (row.get(key) or {} for key in ("means", "intervals", "chance"))
    rows = []
    for key, value in means.items():
        by_chance = chance.get("chance_" + key.removeprefix("pointing_").split("_")[0]) if "pointing" in key else ""
        rows.append([_worded(key), with_interval(value, intervals.get(key)), by_chance])
    known = ("means", "intervals", "chance", "classes", "n_cases")
    text = f"{group} findings: {row.get('n_cases', '?')} cases of {', '.join(map(str, row.get('classes') or ()))}."
    others = {key: value for key, value in row.items() if key not in known}
    return paragraph(text) + table([group, "mean [low, high]", "by chance"], rows) + json_tables(others)


def _worded(key: str) -> str:
    """ "iou_stride_aligned" -> "IoU, map aligned with the stride"."""
    base, variants = key, []
    for suffix, words in _VARIANTS.items():
        if suffix in base:
            base, variants = base.replace(f"_{suffix}", ""), [*variants, words]
    return ", ".join([_WORDS.get(base, base.replace("_", " ")), *reversed(variants)])


def _classes(classes: Mapping) -> str:
    """One line a class by the first protocol; every protocol, variant and other list folded below."""
    short, long = [], {}
    for name, section in classes.items():
        about = {key: value for key, value in section.items() if not isinstance(value, Mapping | list)}
        first: Mapping = {}
        for key, rows in _lists(section).items():
            protocols = all("protocol" in row for row in rows)
            first = first or (rows[0] if protocols and rows else {})
            heads = {"class": str(name), **({"variant": key.replace("_", " ")} if protocols else {})}
            title = "every protocol" if protocols else key.replace("_", " ")
            long.setdefault(title, []).extend({**heads, **row} for row in rows)
        short.append({"class": str(name), **about, **{key: first[key] for key in _SUMMARY if key in first}})
        named = first.get("protocol", "")
    head = paragraph(f'By class, protocol "{named}"; "by chance": a random place would have hit as often.')
    tables = (
        folded(
            f"{title}, by class ({len(rows)} lines)", _rows(rows), paper="open" if len(rows) <= _PAPER else "left out"
        )
        for title, rows in long.items()
    )
    return head + _rows(short) + "".join(tables)


def _lists(section: Mapping) -> dict[str, list[dict]]:
    """The lists of rows of a class by their key; a single row is a list of one."""
    lists = {}
    for key, value in section.items():
        rows = [value] if isinstance(value, Mapping) else value
        if isinstance(rows, list):
            lists[str(key)] = [_flat(row) for row in rows if isinstance(row, Mapping)]
    return lists


def _flat(row: Mapping) -> dict:
    """One level of nesting as "key: inner"; deeper ones as JSON."""
    flat = {}
    for key, value in row.items():
        flat |= {f"{key}: {k}": v for k, v in value.items()} if isinstance(value, Mapping) else {str(key): value}
    return flat


def _rows(rows: Sequence[Mapping]) -> str:
    """A table with the union of the rows' keys as columns, without those that are empty throughout.

    A count of 0 is empty; a hit rate or an IoU of 0.0 is a result.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    keys = [key for key in keys if key == "" or any(isinstance(v := row.get(key), float) or v for row in rows)]
    head = [_SHORT.get(key, str(key).replace("_", " ")) for key in keys]
    return table(head, [[_cell(row.get(key, "")) for key in keys] for row in rows])


def _cell(value):
    """What `table` takes: numbers and None stay, all else is text."""
    plain = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    return value if plain else _text(value)


def _text(value) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False)
