"""`medslip compile --config FILE[:arg] --topology v5e:4x4 | h100:8`: the train step compiled for a TPU slice or for
GPUs, on a machine without them.

Prints FLOPs, memory traffic, memory and collectives of a chip, the largest batch that is likely to fit, what a batch of
validation needs, and the roofline's images/s. The exit code is 1 where one of the two does not fit or could not be
compiled.
"""

import argparse
import json
from pathlib import Path

from medslip_jax.aot.step_report import compile_report
from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.experiment import load_config, read
from medslip_jax.parallel.topologies import parse_topology
from medslip_jax.report.tables.compile import compile_table
from medslip_jax.storage.files import write_bytes


def main(argv: list[str]) -> int:
    args, rest = _parser().parse_known_args(argv)
    topology = parse_topology(args.topology)
    if args.per_chip is not None and args.per_chip < 1:
        raise InputError(f"--per_chip {args.per_chip}: at least one image a chip")
    if args.out and not Path(args.out).parent.is_dir():
        raise InputError(f"--out {args.out}: there is no such folder; make it first")
    result = compile_report(
        read(load_config(rest)), topology=topology, per_chip=args.per_chip, evaluation=not args.no_evaluation
    )
    result["config"] = _config_name(rest)
    text = json.dumps(result, indent=1, allow_nan=False)
    print(text if args.json else compile_table(result))
    if args.out:
        write_bytes(args.out, text.encode())
    evaluation = result["evaluation"]
    return 0 if result["fits"] and (evaluation is None or evaluation["fits"]) else 1


def _config_name(argv: list[str]) -> str:
    """FILE[:arg] of `--config FILE[:arg]` or `--config=FILE[:arg]`."""
    for item, after in zip(argv, [*argv[1:], ""], strict=True):
        if item == "--config":
            return after
        if item.startswith("--config="):
            return item.partition("=")[2]
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "compile",
        "medslip compile --config configs/pretrain_mimic.py:bf16 --topology v5e:4x4 --per_chip 256",
        description=__doc__,
    )
    parser.add_argument(
        "--topology",
        required=True,
        help="up to 256 chips: v5e:4x4, v6e:8x8, v5p:2x2x4; GPUs h100:8, l4:1, a100:2x8 for two nodes",
    )
    parser.add_argument("--per_chip", type=int, help="images a chip; data.batch_size over the chips by default")
    parser.add_argument("--no_evaluation", action="store_true", help="leave the program of the validation out")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--out", metavar="FILE", help="write that JSON object here, too")
    return parser
