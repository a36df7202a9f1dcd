"""What a run is made of and where its time goes: an overview of the parameters, a trace of some of its steps."""

import re
from pathlib import Path

import jax
from clu import parameter_overview

from medslip_jax.errors import InputError
from medslip_jax.storage.files import write_bytes


def parse_steps(text: str | None) -> tuple[int, int] | None:
    """ "A:B" of --profile -> (A, B).

    >>> parse_steps("10:12")
    (10, 12)
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or int(found[1]) >= int(found[2]):
        raise InputError(f"--profile {text}: write FIRST:LAST, such as 10:13 for the steps 11, 12 and 13")
    return int(found[1]), int(found[2])


class Trace:
    """A `jax.profiler` trace of the steps after `first` up to `last`, in WORKDIR/profile, for TensorBoard or Perfetto.

    Args:
      workdir: the run's directory.
      steps: (first, last), None for no trace.
    """

    def __init__(self, workdir: str | Path, steps: tuple[int, int] | None):
        self._directory, self._steps, self._running = str(Path(workdir) / "profile"), steps, False

    def at(self, step: int, state) -> None:
        """So many steps are done, with this state."""
        if self._steps is None:
            return
        first, last = self._steps
        if not self._running and first <= step < last:
            jax.profiler.start_trace(self._directory)
            self._running = True
        elif self._running and step >= last:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        if self._running and self._steps is not None:
            self._running = False
            jax.profiler.stop_trace()
            if jax.process_index() == 0:
                print(f"trace of steps {self._steps[0] + 1} to {self._steps[1]}: {self._directory}")


def write_overview(workdir: str | Path, variables: dict) -> str:
    """Writes the table of all parameters to WORKDIR/parameters.txt and returns a line on them."""
    table = parameter_overview.get_parameter_overview(variables, include_stats=False)
    file = Path(workdir) / "parameters.txt"
    write_bytes(file, f"{table}\n".encode())
    leaves = jax.tree.leaves(variables["params"])
    size = sum(x.size * x.dtype.itemsize for x in leaves)
    return f"{sum(x.size for x in leaves) / 1e6:.2f} million parameters, {size / 2**20:.0f} MiB; {file}"
