"""`medslip report RUN_DIR [--results DIR] [--out FILE.html] [--data_dir DIR] [--cases N]`.

One HTML page on a run after `medslip evaluate`: curves, tables, calibration and cases, in one file without network.
"""

import argparse
from pathlib import Path

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.report.run.page import page
from medslip_jax.report.run.reading import read_run
from medslip_jax.storage.files import write_bytes

_MAX_CASES = 200


def main(argv: list[str]) -> int:
    """Runs the verb: 0; `InputError` for results that are missing or cannot be used."""
    args = _parser().parse_args(argv)
    if not 0 <= args.cases <= _MAX_CASES:
        raise InputError(f"--cases {args.cases}: give a number from 0 to {_MAX_CASES}")
    results = Path(args.results or Path(args.run) / "zero_shot")
    out = Path(args.out or results / "report.html")
    contents = read_run(args.run, results=results, data_dir=args.data_dir, cases=args.cases)
    data = page(contents).encode()
    write_bytes(out, data)
    for line in (*contents.warnings, *([contents.no_cases] if contents.no_cases else [])):
        print(f"note: {line}")
    print(f"written: {out} ({len(data) / 1e6:.1f} MB)")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "report",
        "medslip report runs/a",
        "medslip report runs/f --results runs/f/test --out f.html --cases 24",
        description=__doc__,
    )
    add = parser.add_argument
    add("run", metavar="RUN_DIR", help="a --workdir of pretrain or finetune")
    add("--results", help="--out of evaluate, or RUN_DIR/test of finetune; RUN_DIR/zero_shot by default")
    add("--out", metavar="FILE.html", help="RESULTS/report.html by default")
    add("--data_dir", help="where the judged data set was built; the checkpoint's by default")
    add("--cases", type=int, default=12, help="images in the gallery (%(default)s); 0 for none")
    return parser
