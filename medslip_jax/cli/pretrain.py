"""`medslip pretrain --config FILE[:arg] --workdir DIR [--config.x.y=value ...]`."""

import argparse

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.experiment import load_config
from medslip_jax.parallel import processes
from medslip_jax.pretraining import pretrain
from medslip_jax.training import profiling


def main(argv: list[str]) -> int:
    """Parses the flags and trains; a second call with the same `--workdir` goes on where the first one stopped."""
    args, rest = _parser().parse_known_args(argv)
    config, profile = load_config(rest), profiling.parse_steps(args.profile)
    if "loss" not in config:
        raise InputError("--config: not a pre-training config; `medslip finetune` and `evaluate` take the others")
    with processes.processes(args):
        pretrain(config, workdir=args.workdir, stop_after=args.stop_after, profile=profile)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "pretrain",
        "medslip pretrain --config configs/phantom.py --workdir runs/a",
        "medslip pretrain --config configs/pretrain_mimic.py:bf16 --workdir runs/b --config.data.batch_size=256",
        description=__doc__,
    )
    parser.add_argument("--workdir", required=True, help="metrics, checkpoints and the config are written here")
    parser.add_argument("--stop_after", type=int, help="end after this step, with a checkpoint (to try resuming)")
    parser.add_argument("--profile", metavar="A:B", help="trace the steps after A up to B into WORKDIR/profile")
    processes.add_flags(parser)
    return parser
