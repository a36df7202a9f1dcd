"""`medslip compare A B [--common] [--out FILE.json]`: is result B better than result A on the same images?

A and B are directories that `medslip evaluate` wrote, or `medslip finetune` for a classifier (RUN/test), or their
metrics.json. Patients are resampled, the same ones for both; differences are B - A. p-values are of single tests:
"holm" adjusts those of the classes for their number.
"""

import argparse
import json

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.evaluation import compare
from medslip_jax.report.tables.comparison import comparison_table
from medslip_jax.storage.files import write_bytes


def main(argv: list[str]) -> int:
    args = _parser().parse_args(argv)
    result = compare(args.a, args.b, resamples=args.resamples, seed=args.seed, common=args.common)
    print(comparison_table(result))
    if args.out:
        write_bytes(args.out, json.dumps(result, indent=1, allow_nan=False).encode())
        print(f"\nwritten: {args.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "compare", "medslip compare runs/a/zero_shot runs/b/zero_shot --out b_against_a.json", description=__doc__
    )
    parser.add_argument("a", metavar="A", help="a result: directory of `medslip evaluate` or its metrics.json")
    parser.add_argument("b", metavar="B", help="another one, on the same images")
    parser.add_argument("--common", action="store_true", help="compare on the images that both have")
    parser.add_argument("--resamples", type=int, default=1000, help="of the patient-level bootstrap (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (%(default)s)")
    parser.add_argument("--out", metavar="FILE.json", help="the numbers, for programs")
    return parser
