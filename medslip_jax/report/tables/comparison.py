"""The table of `medslip compare`."""

import textwrap
from collections.abc import Mapping

from medslip_jax.report.tables.cells import align, with_interval
from medslip_jax.report.tables.classification import WIDTH


def comparison_table(result: Mapping) -> str:
    """The macro mean, one line a class from the largest loss to the largest gain, then the pointing game and notes.

    Args:
      result: of `compare.compare`.
    """
    lines = [["AUROC", "A", "B", "B - A [95 %]", "p", "p (holm)"]]
    macro = result["macro"]
    lines.append([f"macro mean of {macro['n_defined']}", *_cells(macro["auroc"])])
    defined = {n: row["auroc"] for n, row in result["classes"].items() if row["auroc"]["difference"] is not None}
    for name in sorted(defined, key=lambda name: defined[name]["difference"]):
        lines.append([name, *_cells(defined[name])])
    lines.append(["average precision", "", "", "", "", ""])
    lines.append([f"macro mean of {macro['n_defined']}", *_cells(macro["average_precision"])])
    if result["pointing"]:
        cases = f"{result['pointing']['cases']} cases"
        lines += [
            ["pointing game", "", "", "", "", ""],
            [f"arg-max cell, {cases}", *_cells(result["pointing"]["cell"])],
        ]
    table = align(lines, left=(0, 3))
    notes = [
        f"A: {result['a']['path']}",
        f"B: {result['b']['path']}",
        f"{result['images']} images of {result['patients']} patients.",
        f"{result['method']}; {result['resamples']} resamples.",
        "p: of a single test each; p (holm): adjusted for the number of classes.",
    ]
    undefined = [name for name in result["classes"] if name not in defined]
    if undefined:
        notes.append(f"Labels of one value only, not compared: {', '.join(undefined)}.")
    if result["left_out"]:
        notes.append(f"Judged by one of the two only, left out: {', '.join(result['left_out'])}.")
    left = {key: result[key]["images"] - result["images"] for key in "ab"}
    if any(left.values()):
        notes.append(f"Images that only one has, left out: {left['a']} of A, {left['b']} of B.")
    return "\n".join([*table, "", *(textwrap.fill(note, WIDTH, subsequent_indent="  ") for note in notes)])


def _cells(row: Mapping) -> list[str]:
    if row["difference"] is None:
        return ["-"] * 5
    p = "-" if row["p"] is None else f"{row['p']:.3f}"
    holm = f"{row['p_holm']:.3f}" if row.get("p_holm") is not None else ""
    return [f"{row['a']:.3f}", f"{row['b']:.3f}", with_interval(row["difference"], row, sign="+"), p, holm]
