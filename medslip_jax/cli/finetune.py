"""`medslip finetune --config FILE[:arg] --workdir DIR [--config.x.y=value ...]`: a classifier or a U-Net (SPEC 7).

The model with the best validation metric is kept in DIR/best. At the end it is judged on the test split, once: the
results lie in DIR/test. A second call with the same --workdir goes on where the first one stopped.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import jax

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.experiment import load_config
from medslip_jax.experiment.sections import METRICS
from medslip_jax.finetuning import finetune, test_once
from medslip_jax.parallel import processes
from medslip_jax.report.tables.tuning import summary
from medslip_jax.training import profiling


def main(argv: list[str]) -> int:
    args, rest = _parser().parse_known_args(argv)
    config, profile = load_config(rest), profiling.parse_steps(args.profile)
    if config.get("kind") not in METRICS:
        raise InputError("--config: not a fine-tuning config; pre-training is `medslip pretrain`")
    if args.resamples < 1:  # read when the training is over
        raise InputError(f"--resamples {args.resamples}: must be at least 1")
    with processes.processes(args):
        ended = finetune(config, workdir=args.workdir, stop_after=args.stop_after, profile=profile)
        result = None
        if ended and args.test == "at_end":
            result = test_once(config, workdir=args.workdir, resamples=args.resamples)
        if jax.process_index() == 0:
            _say_end(args.workdir, ended=ended, result=result)
    return 0


def _parser() -> argparse.ArgumentParser:
    start = "medslip finetune --config configs"
    parser = verb_parser(
        "finetune",
        f"{start}/finetune_classification.py:data=phantom --workdir runs/f --config.init_from=runs/a",
        f"{start}/finetune_segmentation.py:data=folder --workdir runs/s --config.init_from=runs/a",
        description=__doc__,
    )
    add = parser.add_argument
    add("--workdir", required=True, help="metrics, checkpoints, best model and results go here")
    add("--stop_after", type=int, help="end after this step, with a checkpoint (to try resuming)")
    add("--test", choices=("at_end", "never"), default="at_end", help="touch the test split (%(default)s)")
    add("--resamples", type=int, default=1000, help="of the patient-level bootstrap (%(default)s)")
    add("--profile", metavar="A:B", help="trace the steps after A up to B into WORKDIR/profile")
    processes.add_flags(parser)
    return parser


def _say_end(workdir: str, *, ended: bool, result: Mapping | None) -> None:
    if not ended:
        print(f"stopped early; the best so far: {workdir}/best")
    if result is not None:
        print(summary(result))
        print(f"\nwritten: {Path(workdir) / 'test' / 'metrics.json'}; the model: {Path(workdir) / 'best'}")
