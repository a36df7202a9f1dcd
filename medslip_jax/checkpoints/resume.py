"""Which checkpoint a run resumes from: the newest that is intact, the same on every process, of the same config.

A damaged one is renamed to STEP.damaged, never deleted, so that nobody takes it for a checkpoint and its step can be
saved again.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from medslip_jax.checkpoints.integrity import damage
from medslip_jax.checkpoints.reading import read_config, steps_in
from medslip_jax.errors import InputError
from medslip_jax.experiment.trees import differences, read, tree_of
from medslip_jax.parallel.processes import decided_together

# What may change between the parts of one run, as it does not change the losses; "keep" stands for "keep_..." too.
_FREE = (
    "log_every",
    "eval_every",
    "save_every",
    "keep",
    "data.dir",
    "data.workers",
    "data.threads",
    "mesh.data",
    "mesh.fsdp",
    "watchdog_minutes",
    "eval.",
)


def choose(directory: Path) -> int | None:
    """The newest intact step, None if there is no checkpoint; damaged newer ones are moved out of the way.

    Call it on every process: process 0 decides and tells the others.

    Raises:
      InputError: there are checkpoints, and all are damaged; they stay where they are.
    """
    return decided_together(lambda: _choose(directory))


def _choose(directory: Path) -> int | None:
    damaged = {}
    for step in steps_in(directory):
        found = damage(directory / str(step))
        if found is None:
            break
        damaged[step] = found
    else:
        if not damaged:
            return None
        listed = "; ".join(f"{step}: {found}" for step, found in damaged.items())
        raise InputError(
            f"{directory}: every checkpoint is damaged ({listed}); put copies of them back, "
            "or start again with another --workdir"
        )
    for newer, found in damaged.items():
        print(f"note: {_set_aside(directory / str(newer), found)}; going on from {step}", file=sys.stderr)
    for older in (s for s in steps_in(directory) if s < step):
        # Orbax reads the metrics of all checkpoints, and would stop at broken ones.
        if found := damage(directory / str(older), items=("metrics",)):
            print(f"note: {_set_aside(directory / str(older), found)}", file=sys.stderr)
    return step


def _set_aside(checkpoint: Path, found: str) -> str:
    """Renames a damaged checkpoint and says so."""
    target, n = checkpoint.with_name(f"{checkpoint.name}.damaged"), 1
    while target.exists():
        n += 1
        target = checkpoint.with_name(f"{checkpoint.name}.damaged-{n}")
    try:
        checkpoint.rename(target)
    except OSError as error:
        raise InputError(f"{checkpoint} is damaged ({found}) and cannot be renamed ({error.strerror})") from error
    return f"{checkpoint} is damaged ({found}) and now called {target.name}"


def require_same_config(directory: Path, tree: Mapping) -> None:
    """`InputError` that lists the keys if the checkpoint in a directory was made with another config than `tree`."""
    saved = tree_of(read(read_config(directory)))
    changed = [line for line in differences(saved, tree) if not line.startswith(_FREE)]
    if changed:
        raise InputError(
            f"{directory} was made with another config ({'; '.join(changed[:6])}); "
            "use the same values or another --workdir"
        )
