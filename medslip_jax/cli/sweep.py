"""`medslip sweep --config FILE[:arg] --workdir DIR [--only A,B] [--config.x.y=value ...]`: variants of one experiment.

The config file has VARIANTS, {name: {key: value}}, and its `get_config` takes `variant=NAME`; the first is what the
others are compared with. Each is pre-trained and evaluated below DIR, in a process of its own. The same command goes on
where it was stopped: finished variants are kept. Writes DIR/table.txt and DIR/sweep.json.
"""

import argparse

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.launch.sweep import sweep


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or 1 if a variant failed; the others are still run."""
    args, overrides = _parser().parse_known_args(argv)
    only = args.only.split(",") if args.only else ()
    done = sweep(args.config, args.workdir, only=only, overrides=overrides, resamples=args.resamples)
    print(f"\n{done['table']}")
    if done["failed"]:
        print(f"failed: {', '.join(done['failed'])}; the reason stands above, at the variant's own lines")
    return int(bool(done["failed"]))


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "sweep",
        "medslip sweep --config configs/ablations.py --workdir runs/ablations --config.data.dir=data",
        description=__doc__,
    )
    parser.add_argument("--config", required=True, metavar="FILE[:arg]", help="such as configs/ablations.py")
    parser.add_argument("--workdir", required=True, help="one directory a variant, the table and its numbers")
    parser.add_argument("--only", metavar="A,B,...", help="variants to run now; the table shows all that are there")
    parser.add_argument("--resamples", type=int, default=1000, help="of the patient-level bootstrap (%(default)s)")
    return parser
