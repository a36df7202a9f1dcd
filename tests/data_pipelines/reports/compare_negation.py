"""The report reader's negation and doubt beside medspaCy's ConText and negspaCy: same findings, places, sentences.

    pip install medspacy negspacy opencv-python-headless etils       # an environment of its own
    PYTHONPATH=. python tests/data_pipelines/reports/compare_negation.py ../shared/iu_xray/NLMCXR_reports.tgz

Only the step that says present, absent or uncertain is exchanged. ConText runs with the rules that medspaCy ships and
with the words of assets/terms.toml. What is historical, hypothetical or of the family counts as uncertain. "Atelectasis
or scar" counts as uncertain for all, as this reader has it, and in a second run for none: human coders code both.
"""

import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import medspacy  # noqa: F401  registers the pipes
import negspacy.negation  # noqa: F401
import spacy
from medspacy.context import ConTextRule
from spacy.tokens import Doc, Span

from data_pipelines.radgraph import label_matrices
from data_pipelines.reports import assertions, extraction, scores, terms
from data_pipelines.reports.clauses import OBSERVATIONS
from data_pipelines.reports.openi_xml import OpeniReport, read_reports
from data_pipelines.reports.tokens import Item
from medslip_jax.vocabulary import pathology_index

HERE = Path(__file__).parent
# (spaCy's spans of the observations, marked by a pipe) -> status
Judge = Callable[[Span], str]


def _context_status(span: Span) -> str:
    if span._.is_negated:
        return "OBS-DA"
    doubted = span._.is_uncertain or span._.is_historical or span._.is_hypothetical or span._.is_family
    return "OBS-U" if doubted else "OBS-DP"


def _negex_status(span: Span) -> str:
    return "OBS-DA" if span._.negex else "OBS-DP"


def _our_rules() -> list[ConTextRule]:
    """The words of assets/terms.toml as rules of ConText."""
    words = terms.GRAMMAR
    # "not seen", "cannot exclude", "no change" and "no prior film" are a rule each.
    seen = [f"{no} {word}" for no in terms.LOOKING_BACK for word in (*words["SEEN"], *words["ARISE"])]
    cannot = [f"{no} {word}" for no in (*words["CANNOT"], "cannot be", "not") for word in words["EXCLUDE"]]
    pseudo = [f"no {word}" for word in words["CHANGE"]]
    pseudo += [f"no {word} {study}" for word in terms.EARLIER for study in terms.STUDIES]
    tables = [
        ("NEGATED_EXISTENCE", "FORWARD", set(words["NEG"]) - terms.RESOLVED - set(seen)),
        ("NEGATED_EXISTENCE", "BIDIRECTIONAL", terms.RESOLVED),
        ("NEGATED_EXISTENCE", "BACKWARD", {*words["GONE"], *seen}),
        ("POSSIBLE_EXISTENCE", "BIDIRECTIONAL", {*cannot, *words["EXCLUDE"], *terms.DOUBTED}),
        ("POSSIBLE_EXISTENCE", "FORWARD", set(words["MAYBE"]) - terms.DOUBTED),
        ("POSSIBLE_EXISTENCE", "BIDIRECTIONAL", set(words["VERSUS"])),
        ("CONJ", "TERMINATE", set(words["STOP"])),
        ("PSEUDO", "PSEUDO", set(pseudo)),
    ]
    return [ConTextRule(phrase, kind, direction=way) for kind, way, phrases in tables for phrase in sorted(phrases)]


class Other:
    """`extract` with another judge of present, absent and uncertain."""

    def __init__(self, pipe: str, status: Judge, rules: Sequence[ConTextRule] | None = None):
        self._nlp = spacy.blank("en")
        config = {} if rules is None else {"config": {"rules": None}}
        self._pipe = self._nlp.add_pipe(pipe, **config)
        if rules is not None:
            self._pipe.add(rules)
        self._status = status
        self._judged: dict[int, str] = {}

    def extract(self, text: str) -> dict:
        self._judged = {}
        patched = mock.patch.multiple(extraction, tag=self._tag, assert_clause=self._assert)
        with patched:
            return extraction.extract(text)

    def _tag(self, tokens: list[str], *, offset: int) -> list[Item]:
        items = TAG(tokens, offset=offset)
        doc = Doc(self._nlp.vocab, words=tokens, sent_starts=[True] + [False] * (len(tokens) - 1))
        found = [item for item in items if item.tag in OBSERVATIONS]
        doc.ents = [Span(doc, item.start - offset, item.end - offset + 1, label="FINDING") for item in found]
        for item, span in zip(found, self._pipe(doc).ents, strict=True):
            self._judged[item.start] = self._status(span)
        return items

    def _assert(self, items: Sequence[Item]) -> None:
        for item in items:
            if item.tag in OBSERVATIONS:
                item.status = self._judged[item.start]
        assertions.alternatives(items)


TAG, OURS = extraction.tag, extraction.extract


def right(extract: Callable[[str], dict], cases: Sequence[dict]) -> str:
    return f"{sum(labels(extract, case) == case['expect'] for case in cases)}/{len(cases)}"


def labels(extract: Callable[[str], dict], case: dict) -> dict[str, int]:
    _, matrices = label_matrices({"report": extract(case["text"])})
    whole = matrices[0].max(axis=0) if len(matrices) else None
    return {name: -1 if whole is None else int(whole[pathology_index(name)]) for name in case["expect"]}


def _described(extract: Callable[[str], dict], reports: Sequence[OpeniReport]) -> list[str]:
    """Scores of the held-out half of IU X-Ray, as lines."""
    with mock.patch.object(scores, "extract", extract):
        held_out = scores.score_reports(reports)["held_out"]
    lines = []
    for what in ("presence", "pairs"):
        micro = held_out[what]["micro"]
        low, high = micro["f1_interval"]
        rates = f"{micro['precision']:.3f} {micro['recall']:.3f} {micro['f1']:.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"  IU X-Ray held out, {what}: {rates}")
    return lines


def main(archive: str) -> None:
    readers = {
        "this reader": OURS,
        "ConText, medspaCy's rules": Other("medspacy_context", _context_status).extract,
        "ConText, our words": Other("medspacy_context", _context_status, _our_rules()).extract,
        "negspaCy": Other("negex", _negex_status).extract,
    }
    cases, own, later = (
        json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("field_cases", "field_sentences", "field_sentences_later")
    )
    parts = {"field cases": cases} | {half: [c for c in own if c["half"] == half] for half in ("seen", "held")}
    parts["later"] = later
    parts |= {kind: [c for c in own if c["kind"] == kind] for kind in dict.fromkeys(c["kind"] for c in own)}
    reports = list(read_reports(archive))
    for name, extract in readers.items():
        print(f"{name}\n  " + ", ".join(f"{part} {right(extract, chosen)}" for part, chosen in parts.items()))
        print("\n".join(_described(extract, reports)))
        with mock.patch.object(assertions, "alternatives", lambda items: None):
            print('  "A or B" as present:\n' + "\n".join(_described(extract, reports)))


if __name__ == "__main__":
    main(*itertools.islice(sys.argv[1:], 1))
