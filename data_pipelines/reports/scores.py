"""How well `reports.extract` reads: against human codes of real reports, and against the phantom's true triplets.

    python -m data_pipelines.reports.scores --iu_xray NLMCXR_reports.tgz [--json]

Real reports are the 3,955 of IU X-Ray (Demner-Fushman et al., J. Am. Med. Inform. Assoc. 2016), whose MeSH codes
were assigned by people reading the same text. What the codes mean in our vocabulary is `mesh_codes`, where they are is
`areas`. Reports are split in halves by a hash of their id; since the split exists, rules are changed for errors
of the tuning half only. Rules older than the split were written with all these reports at hand, so even the held-out
half is no set that the reader never met.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from data_pipelines.phantom import draw
from data_pipelines.radgraph import Triplet, read_entities, study_triplets
from data_pipelines.reports import mesh_codes
from data_pipelines.reports.areas import code_areas, is_placed, our_areas
from data_pipelines.reports.extraction import extract
from data_pipelines.reports.openi_xml import OpeniReport, read_reports
from medslip_jax.errors import InputError

HALVES = ("tuning", "held_out")
SEEDS = range(9_000_000, 9_000_500)  # phantoms that no data set of ours draws

# (report, what was found in it) -> (what the codes say, what was found), as members of one kind.
Sets = Callable[[OpeniReport, Sequence[Triplet]], tuple[set, set]]


def half(report_id: str) -> str:
    """The half that a report belongs to, by a hash of its id alone.

    >>> half("CXR1"), half("CXR6")
    ('tuning', 'held_out')
    """
    return HALVES[hashlib.sha256(report_id.encode()).digest()[0] % 2]


def triplets(text: str) -> list[Triplet]:
    """What `extract` finds in a text."""
    return list(study_triplets(read_entities(extract(text), key="report")))


def _codes(report: OpeniReport) -> list[mesh_codes.Code]:
    return [mesh_codes.parse_code(code) for code in report.codes]


def is_coded(report: OpeniReport) -> bool:
    """Whether people coded this report at all, and it has a text to be read."""
    return bool(report.text) and not any(heading in mesh_codes.NOT_CODED for heading, _ in _codes(report))


def presence(report: OpeniReport, found: Sequence[Triplet]) -> tuple[set, set]:
    """(coded, found): the classes that are present, of those that this report is judged for."""
    codes = _codes(report)
    judged = set(mesh_codes.CLASSES) - mesh_codes.doubtful(codes)
    return mesh_codes.asserted(codes) & judged, {t.pathology for t in found if t.exists} & judged


def pairs(report: OpeniReport, found: Sequence[Triplet]) -> tuple[set, set]:
    """(coded, found): the (class, area) that are present, of the classes that this report is judged for."""
    codes = _codes(report)
    judged = set(mesh_codes.CLASSES) - mesh_codes.doubtful(codes)
    coded = {(n, a) for code in codes for n in mesh_codes.code_classes(code) & judged for a in code_areas(code, n)}
    ours = {(t.pathology, a) for t in found if t.exists for a in our_areas(t.anatomy, t.pathology)}
    return coded, {(name, area) for name, area in ours if name in judged}


def placed_pairs(report: OpeniReport, found: Sequence[Triplet]) -> tuple[set, set]:
    """As `pairs`, without those whose area says no more than where the finding is at home."""
    coded, ours = pairs(report, found)
    return {pair for pair in coded if is_placed(pair[1], pair[0])}, {p for p in ours if is_placed(p[1], p[0])}


def grouped(report: OpeniReport, found: Sequence[Triplet]) -> tuple[set, set]:
    """(coded, found): the groups of classes (`mesh_codes.GROUPS`) that are present."""
    present = {t.pathology for t in found if t.exists}
    return mesh_codes.groups(_codes(report)), {names for names in mesh_codes.GROUPS if not present.isdisjoint(names)}


def count(sets: Iterable[tuple[set, set]], classes: Sequence, *, of: Callable = lambda member: member) -> np.ndarray:
    """int32 (reports, classes, 3): true positives, false positives, false negatives.

    Args:
      sets: (true members, found members) of each report.
      classes: the columns.
      of: the class of a member.

    >>> count([({"a", "b"}, {"b", "c"})], "abc")[0].tolist()
    [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    """
    column = {name: i for i, name in enumerate(classes)}
    sets = list(sets)
    counts = np.zeros((len(sets), len(column), 3), np.int32)
    for row, (true, found) in enumerate(sets):
        for kind, members in enumerate((true & found, found - true, true - found)):
            for member in members:
                counts[row, column[of(member)], kind] += 1
    return counts


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of (..., 3) counts; NaN where there is nothing to divide by."""
    tp, fp, fn = np.moveaxis(np.asarray(counts, float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"precision": tp / (tp + fp), "recall": tp / (tp + fn), "f1": 2 * tp / (2 * tp + fp + fn)}


def summarise(counts: np.ndarray, classes: Sequence[str], *, resamples: int = 1000) -> dict:
    """Rates a class and over all, with 95 % intervals of the micro average by resampling reports.

    Args:
      counts: of `count`.
      classes: names of its columns.
      resamples: of the bootstrap (seeded).

    Returns:
      {"reports", "micro": {"precision", "recall", "f1", "f1_interval": [low, high], "true_positives", ...},
      "macro_f1": mean over the classes that occur, "classes": {name: the same without interval}}; a rate that
      would divide by nothing is None.
    """
    rng = np.random.default_rng(0)
    per_report = counts.sum(axis=1)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    drawn = rates(weights @ per_report)["f1"]
    drawn = drawn[~np.isnan(drawn)]
    interval = [round(float(end), 4) for end in np.quantile(drawn, [0.025, 0.975])] if len(drawn) else None
    rows = {name: _row(row) for name, row in zip(classes, counts.sum(axis=0), strict=True) if row.sum()}
    return {
        "reports": len(counts),
        "micro": _row(per_report.sum(axis=0)) | {"f1_interval": interval},
        "macro_f1": round(float(np.mean([row["f1"] for row in rows.values()])), 4) if rows else None,
        "classes": rows,
    }


def _row(counts: np.ndarray) -> dict:
    names = ("true_positives", "false_positives", "false_negatives")
    found = {name: None if np.isnan(rate) else round(float(rate), 4) for name, rate in rates(counts).items()}
    return found | {name: int(number) for name, number in zip(names, counts, strict=True)}


def score_reports(reports: Iterable[OpeniReport]) -> dict:
    """{"tuning", "held_out", "all": {"presence", "pairs", "placed_pairs", "groups": see `summarise`}}."""
    judged = [(report, triplets(report.text)) for report in reports if is_coded(report)]
    if not judged:
        raise InputError("no report with a text and human codes: expected those of IU X-Ray")
    result = {}
    for name in (*HALVES, "all"):
        part = [pair for pair in judged if name in ("all", half(pair[0].report_id))]
        result[name] = (
            {}
            if not part
            else {
                "presence": _scored(presence, part, mesh_codes.CLASSES),
                "pairs": _scored(pairs, part, mesh_codes.CLASSES, of=lambda pair: pair[0]),
                "placed_pairs": _scored(placed_pairs, part, mesh_codes.CLASSES, of=lambda pair: pair[0]),
                "groups": _scored(grouped, part, ["/".join(names) for names in mesh_codes.GROUPS], of="/".join),
            }
        )
    return result


def _scored(sets: Sets, part: Sequence[tuple], classes: Sequence[str], **options: Callable) -> dict:
    return summarise(count([sets(*one) for one in part], classes, **options), classes)


def score_phantoms(seeds: Iterable[int] = SEEDS) -> dict:
    """`summarise` of the phantom's (anatomy, class, exists) at exact anatomies; the "classes" are present and absent.

    The seeds are new and the wordings are not: they are a closed list, for which the rules were written.
    """
    phantoms = [draw(seed, size=64) for seed in seeds]
    sets = [({Triplet(*t) for t in one.triplets}, set(triplets(one.report))) for one in phantoms]
    signs = ("absent", "present")
    counts = count((_collapsed(*pair) for pair in sets), signs, of=lambda t: signs[t.exists])
    return summarise(counts, signs)


def _collapsed(true: set[Triplet], found: set[Triplet]) -> tuple[set[Triplet], set[Triplet]]:
    """As the label matrix has it: present beats absent at the same place."""
    true, found = ({t for t in one if t.exists or t._replace(exists=True) not in one} for one in (true, found))
    return true, found


def table(scores: dict) -> str:
    """The rates of `summarise` as lines of text, classes with most codes first."""
    rows = sorted(scores["classes"].items(), key=lambda row: -row[1]["true_positives"] - row[1]["false_negatives"])
    names = ("class", "tp", "fp", "fn", "prec.", "recall", "F1")
    lines = [_line(*names), *(_line(name, *_columns(row)) for name, row in rows)]
    interval = scores["micro"]["f1_interval"]
    spread = "  [{:.3f}, {:.3f}]".format(*interval) if interval else ""
    lines.append(_line("all (micro)", *_columns(scores["micro"])) + spread)
    return "\n".join([*lines, f"macro F1 {_rate(scores['macro_f1'])}, {scores['reports']} reports"])


def _line(name: str, *columns: str) -> str:
    return f"{name:<48}" + "".join(f"{column:>8}" for column in columns)


def _columns(row: dict) -> list[str]:
    counts = [str(row[name]) for name in ("true_positives", "false_positives", "false_negatives")]
    return counts + [_rate(row[name]) for name in ("precision", "recall", "f1")]


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.3f}"


def main(arguments: list[str] | None = None) -> None:
    """Prints precision, recall and F1 of the report reader."""
    parser = argparse.ArgumentParser(prog="python -m data_pipelines.reports.scores", description=main.__doc__)
    parser.add_argument("--iu_xray", metavar="FILE", help="NLMCXR_reports.tgz or the directory it unpacks to")
    parser.add_argument("--phantoms", type=int, default=len(SEEDS), help="number of phantom reports, may be 0")
    parser.add_argument("--json", action="store_true", help="one line of JSON in place of tables")
    given = parser.parse_args(arguments)
    try:
        result = {"iu_xray": score_reports(read_reports(given.iu_xray))} if given.iu_xray else {}
    except InputError as error:
        parser.exit(2, f"medslip: {error}\n")
    if given.phantoms:
        result["phantom"] = score_phantoms(range(SEEDS.start, SEEDS.start + given.phantoms))
    print(json.dumps(result) if given.json else _tables(result))


def _tables(result: dict) -> str:
    blocks = [
        f"== IU X-Ray, {name.replace('_', ' ')}: {what.replace('_', ' ')}\n{table(scores)}"
        for name, part in result.get("iu_xray", {}).items()
        for what, scores in part.items()
    ]
    if "phantom" in result:
        blocks.append(f"== phantom: triplets\n{table(result['phantom'])}")
    return "\n\n".join(blocks)


if __name__ == "__main__":
    main()
