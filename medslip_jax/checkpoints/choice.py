"""Which checkpoint a run goes on from: the newest that is intact, the same on every process.

A damaged one is renamed to STEP.damaged, never deleted, so that nobody takes it for a checkpoint and its step can be
saved again.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from medslip_jax.checkpoints.integrity import damage
from medslip_jax.errors import InputError

# Of checkpoints that are not restored, what decides how long they are kept.
_SMALL = ("_CHECKPOINT_METADATA", "metrics")


def steps_in(directory: Path) -> list[int]:
    """The steps of the finished checkpoints in a directory, newest first."""
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted((int(d.name) for d in found if d.name.isdecimal()), reverse=True)


def choose(directory: Path) -> int | None:
    """The newest intact step, None if there is no checkpoint; damaged newer ones are moved out of the way.

    Call it on every process: process 0 decides and tells the others.

    Raises:
      InputError: there are checkpoints, and all are damaged; they stay where they are.
    """
    return agreed(lambda: _choose(directory))


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
        # Orbax reads these of all checkpoints, and would stop at broken ones.
        present = [name for name in _SMALL if (directory / str(older) / name).exists()]
        if found := damage(directory / str(older), items=present):
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


def instead_of(checkpoint: Path) -> str:
    """For the message on a damaged checkpoint that is only to be read: which one could be given in its place."""
    if checkpoint.name.isdecimal():
        for step in steps_in(checkpoint.parent):
            older = checkpoint.with_name(str(step))
            if step < int(checkpoint.name) and damage(older, items=("model", "config")) is None:
                return f"{older} is intact: give that path to use it instead"
    return "there is no older one that is intact"


def agreed(decide: Callable[[], object]):
    """What process 0 decides (something that JSON can say), on every process; so with an InputError of its."""
    if jax.process_count() == 1:
        return decide()
    answer = {}
    if jax.process_index() == 0:
        try:
            answer = {"value": decide()}
        except InputError as error:
            answer = {"error": str(error)}
    sent = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(sent.size)))
    received = multihost_utils.broadcast_one_to_all(np.resize(sent, size))
    answer = json.loads(np.asarray(received, np.uint8).tobytes())
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]
