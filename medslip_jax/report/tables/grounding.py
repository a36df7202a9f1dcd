"""Grounding results: a few pooled lines for the terminal, every protocol and variant for a file and a page."""

from collections.abc import Mapping, Sequence

from medslip_jax.report.tables.cells import Table, number, with_interval

_GAMES = {
    "pointing_cell": "arg-max cell",
    "pointing_pixel": "arg-max pixel",
    "pointing_pixel_stride_aligned": "arg-max pixel, aligned",
    "pointing_cell_anatomy_weighted": "arg-max cell, anatomy-weighted",
}
_SHOWN_IOU = (0.1, 0.3, 0.5)


def grounding_summary(found: Mapping) -> list[str]:
    """A block a truth: what is located at three IoU thresholds, pooled over classes; masks and anatomies also point.

    Args:
      found: of `grounding.ground`.
    """
    blocks = []
    for name, section in sections(found).items():
        pooled = section["pooled"].get("all")
        if pooled and section is not found:
            blocks.append("\n".join(pointing_lines(name, pooled)))
        if pooled:
            title = f"{name}, {pooled['n_cases']} cases, map above half of its own maximum against the truth"
            blocks.append(f"{title}\n{detection_table([row for row in pooled['detection'] if _is_short(row)])}")
    return blocks


def grounding_tables(found: Mapping) -> str:
    """Every class under every protocol, variant and IoU threshold: what is too long for a terminal."""
    parts = []
    for name, section in sections(found).items():
        parts.append(f"{name}\n{'=' * len(name)}")
        for label, row in section["classes"].items():
            parts.append(f"{label}: {row['n_images']} images\n{protocol_table(row)}")
            parts.append(str(detection_table(row["detection"])))
        parts += [f"pooled, {group}\n{detection_table(row['detection'])}" for group, row in section["pooled"].items()]
    return "\n\n".join(parts) + "\n"


def pointing_lines(name: str, row: Mapping) -> list[str]:
    """The pointing game of SPEC 7 (arg-max cell) and stricter ones on the upsampled map, each beside chance."""
    lines = [f"pointing game, {name}, {row['n_cases']} cases"]
    for key, words in _GAMES.items():
        if key not in row["means"]:
            continue
        interval, chance = row["intervals"][key], row["chance"][f"chance_{key.split('_')[1]}"]
        lines.append(f"  {words:<30} {with_interval(row['means'][key], interval)} (chance {number(chance)})")
    return lines


def class_table(classes: Mapping, *, what: str = "class") -> Table:
    """A line a class: the pointing game, and overlap of the map above half of its own maximum ("per-image")."""
    rows = []
    for name, section in classes.items():
        row = next(p for p in section["protocols"] if p["protocol"] == "per-image")
        games = [_beside_chance(row, place) for place in ("cell", "pixel")]
        rows.append([name, row["n_images"], *games, row["iou"], row["dice"]])
    head = [what, "cases", "pointing cell (chance)", "pixel (chance)", "IoU", "Dice"]
    note = "IoU, Dice: map above half of its own maximum; grounding.txt has every protocol."
    return Table(head, rows, [note], left=(0, 2, 3))


def pooled_table(row: Mapping) -> Table:
    """Every mean of pooled cases with its interval and, of the pointing game, chance."""
    rows = []
    for key, value in row["means"].items():
        chance = row["chance"][f"chance_{key.split('_')[1]}"] if key.startswith("pointing") else ""
        words = key.replace("pointing", "arg-max").replace("iou", "IoU").replace("dice", "Dice").replace("_", " ")
        rows.append([words, with_interval(value, row["intervals"].get(key)), chance])
    return Table([f"{row['n_cases']} cases", "mean [low, high]", "by chance"], rows)


def detection_table(rows: Sequence[Mapping]) -> Table:
    """One line a variant and IoU threshold: the share of cases located, and boxes of connected parts (`detection`).

    Example (shortened):
      maps                IoU >  located  precision  recall  F1
      alone, cells        0.1    0.412    0.310      0.380   0.341
    """
    lines = []
    for row in rows:
        variant = row.get("variant", f"{row['maps']}, {row['upsampling']}" if "maps" in row else "")
        variant = "alone" if variant == "protocols" else variant
        numbers = (row[key] for key in ("localisation_accuracy", "precision", "recall", "f1", "n_predicted", "n_true"))
        lines.append([variant.replace("_", " "), f"{row['iou_above']:g}", *numbers])
    return Table(["maps", "IoU >", "located", "precision", "recall", "F1", "found", "true"], lines)


def protocol_table(section: Mapping) -> Table:
    """One line a protocol and variant of the maps of one class."""
    lines = []
    for reports in section.values():
        for row in reports if isinstance(reports, list) else ():
            if "protocol" not in row:
                continue
            threshold = "-" if row["threshold"] is None else f"{row['threshold']:g}"
            games = [_beside_chance(row, place) for place in ("pixel", "cell")]
            maps = [row["maps"], row["upsampling"], row["protocol"], threshold]
            lines.append([*maps, *games, row["iou"], row["dice"]])
    head = ["maps", "upsampling", "protocol", "threshold", "pixel (chance)", "cell (chance)", "IoU", "Dice"]
    return Table(head, lines, left=(0, 1, 2))


def sections(found: Mapping) -> dict[str, Mapping]:
    """Title -> section; the result itself holds that of the findings' boxes."""
    named = {f"findings, {found['truth']}": found}
    for key, name in (("masks", "findings"), ("anatomy", "anatomies")):
        if key in found:
            named[f"{name}, {found[key]['truth']}"] = found[key]
    return named


def _is_short(row: Mapping) -> bool:
    """Rows for a terminal: few thresholds, maps alone and weighted, upsampled as released."""
    return row["iou_above"] in _SHOWN_IOU and not row["variant"].endswith("stride_aligned")


def _beside_chance(row: Mapping, place: str) -> str:
    return f"{number(row.get(f'pointing_{place}'))} ({number(row.get(f'chance_{place}'))})"
