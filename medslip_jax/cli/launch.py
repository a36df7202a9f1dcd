"""`medslip launch local | tpu | gke | slurm [flags] -- pretrain --config FILE --workdir DIR ...`

local   real processes on this machine
tpu     a Cloud TPU pod through gcloud: asks, waits, installs, runs, and starts again when it is preempted
gke     a JobSet manifest for TPUs on Google Kubernetes Engine
slurm   an sbatch script for GPUs

What follows `--` is the command that a single machine would run; the flags by which its processes find each other are
added here. `--dry_run` prints and does nothing.
"""

import argparse

from medslip_jax.cli.help_layout import help_layout, verb_parser
from medslip_jax.launch import gke, local, slurm, tpu
from medslip_jax.launch.arguments import check_command, split

TARGETS = {"local": local, "tpu": tpu, "gke": gke, "slurm": slurm}


def main(argv: list[str]) -> int:
    """Runs the verb; the exit code is that of the training where the target waits for it (`local`, `tpu`)."""
    parts = split(argv)
    # First, so that `--help` needs no command.
    flags = _parser().parse_args(parts["flags"])
    check_command(parts["command"])
    return TARGETS[flags.target].launch(flags, parts["command"])


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser("launch", *(module.EXAMPLE for module in TARGETS.values()), description=__doc__)
    targets = parser.add_subparsers(dest="target", required=True, metavar=" | ".join(TARGETS))
    for name, module in TARGETS.items():
        about = (module.__doc__ or "").partition("\n\n")[0]
        target = targets.add_parser(name, help=module.HELP, **help_layout(module.EXAMPLE, description=about))
        module.add_flags(target)
        target.add_argument("--dry_run", action="store_true", help="print what would be done, and do nothing")
    return parser
