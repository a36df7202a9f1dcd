"""Where a run's numbers go: JSON lines, TensorBoard, and a progress bar with rate and time left."""

import json
import multiprocessing
import sys
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tqdm import tqdm

from medslip_jax.storage.files import write_bytes


class Means:
    """Means of scalar metrics between two logs.

    Attributes:
      state: {name: [total, count]}, for a checkpoint in the middle of a window, and to go on from one.
    """

    def __init__(self, state: Mapping[str, list[float]]):
        self.state = {name: list(sums) for name, sums in state.items()}

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            total, count = self.state.get(name, (0.0, 0))
            self.state[name] = [total + value, count + 1]

    def pop(self) -> dict[str, float]:
        """The means so far; starts anew."""
        means = {name: total / count for name, (total, count) in self.state.items()}
        self.state = {}
        return means


class Writers:
    """Writes to `metrics.jsonl` and TensorBoard files below `workdir` and shows a progress bar on standard error.

    Args:
      workdir: the run's directory.
      num_steps: length of the run.
      first_step: where it (re)starts. Lines of `metrics.jsonl` from a later step, written after the checkpoint that
        is being resumed, are dropped: each step appears once.
      enabled: False on every host but the first, which then writes nothing.
    """

    def __init__(self, workdir: str | Path, *, num_steps: int, first_step: int = 0, enabled: bool = True):
        self._enabled = enabled
        if enabled:
            Path(workdir).mkdir(parents=True, exist_ok=True)
            file = Path(workdir) / "metrics.jsonl"
            _drop_after(file, first_step)
            self._lines = file.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(workdir), purge_step=first_step + 1, write_to_disk=_has_semaphores())
        # Last: what is printed before it stands on lines of its own.
        self._bar = tqdm(
            total=num_steps,
            initial=first_step,
            unit="step",
            smoothing=0.1,
            disable=not enabled,
            dynamic_ncols=True,
        )
        self._compiled = False

    def advance(self, loss: float) -> None:
        """One step done; moves the bar."""
        self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        if not self._compiled:
            # The first step holds the compilation, and says nothing of the time that is left.
            self._compiled = True
            self._bar.unpause()
        self._bar.update()

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """One JSON line, in which None is null, and one TensorBoard point a number."""
        if not self._enabled:
            return
        self._lines.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self._lines.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._bar.close()
        if self._enabled:
            self._lines.close()
            self._board.close()


def _has_semaphores() -> bool:
    """Whether there are the semaphores that tensorboardX's queue has; a note if not, as the run can do without."""
    try:
        multiprocessing.Queue(1).close()
    except OSError as error:
        print(
            f"note: no TensorBoard files, which need /dev/shm ({error.strerror}); metrics.jsonl has all numbers",
            file=sys.stderr,
        )
        return False
    return True


def _step(line: str) -> float:
    """The step of a line; infinite for one that was cut off when the process died."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")


def _drop_after(file: Path, step: int) -> None:
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8").splitlines()
    write_bytes(file, "".join(f"{line}\n" for line in lines if _step(line) <= step).encode())
