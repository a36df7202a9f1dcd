"""The table of `medslip compare`."""

from collections.abc import Mapping

from medslip_jax.report.tables.cells import Table, with_interval


def comparison_table(result: Mapping) -> Table:
    """The macro mean, one line a class from the largest loss to the largest gain, then the pointing game and notes.

    Args:
      result: of `compare.compare`.
    """
    macro = result["macro"]
    rows = [[f"macro mean of {macro['n_defined']}", *_cells(macro["auroc"])]]
    defined = {n: row["auroc"] for n, row in result["classes"].items() if row["auroc"]["difference"] is not None}
    for name in sorted(defined, key=lambda name: defined[name]["difference"]):
        rows.append([name, *_cells(defined[name])])
    rows.append(["average precision", "", "", "", "", ""])
    rows.append([f"macro mean of {macro['n_defined']}", *_cells(macro["average_precision"])])
    if result["pointing"]:
        cases = f"{result['pointing']['cases']} cases"
        rows += [
            ["pointing game", "", "", "", "", ""],
            [f"arg-max cell, {cases}", *_cells(result["pointing"]["cell"])],
        ]
    notes = [
        "",
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
    return Table(["AUROC", "A", "B", "B - A [95 %]", "p", "p (holm)"], rows, notes, left=(0, 3))


def _cells(row: Mapping) -> list:
    if row["difference"] is None:
        return [None] * 5
    holm = "" if row.get("p_holm") is None else row["p_holm"]
    return [row["a"], row["b"], with_interval(row["difference"], row, sign="+"), row["p"], holm]
