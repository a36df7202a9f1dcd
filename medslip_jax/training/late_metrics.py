"""The metrics of steps: read one step late, checked, averaged over windows, logged."""

import math
from collections.abc import Mapping

import jax
import numpy as np

from medslip_jax.errors import InputError
from medslip_jax.training.step_clock import StepClock
from medslip_jax.training.writers import Means, Writers


class LateMetrics:
    """Reads each step's metrics one step late, so that the device never waits for the host.

    Args:
      writers: where the means of a window go.
      clock: its times go with them.
      every: steps of a window; 0 for the whole run.
      num_steps: length of the run.
      window: `state()["window"]` of the run that goes on.
      saved: step of the checkpoint that it goes on from, None if there is none.
    """

    def __init__(
        self,
        writers: Writers,
        clock: StepClock,
        *,
        every: int,
        num_steps: int,
        window: Mapping,
        saved: int | None = None,
    ):
        self._writers, self._clock, self._every, self._num_steps = writers, clock, every, num_steps
        self._pending: tuple[int, Mapping] | None = None
        self._first = True
        self.saved = saved
        self._means = Means(window)

    def state(self) -> dict:
        """The unfinished window of means, so that a resumed run logs the rows of the uninterrupted one."""
        return {"window": self._means.state}

    def push(self, step: int, metrics: Mapping) -> None:
        """Takes those of `step`, still on the device, and reads those before."""
        self.flush()
        self._pending = (step, metrics)

    def flush(self) -> None:
        """Reads what is pending.

        Raises:
          InputError: a loss or gradient is not finite.
        """
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        with self._clock.waiting("device"):
            host = jax.device_get(metrics)
        values = {name: float(np.asarray(v)) for name, v in host.items()}
        self._check(step, values)
        self._means.add(values)
        self._writers.advance(values["loss"])
        self._clock.step()
        if self._first:
            # Its time was compiling.
            self._first = False
            self._clock.restart()
        if step == self._num_steps or (self._every and step % self._every == 0):
            self._writers.write(step, self._means.pop() | self._clock.pop())

    def _check(self, step: int, values: Mapping[str, float]) -> None:
        """A finite loss can come with an infinite gradient, and then the parameters are already lost."""
        bad = ", ".join(f"{name}={v}" for name, v in values.items() if not math.isfinite(v))
        if bad:
            kept = "nothing was saved yet" if self.saved is None else f"the checkpoint of step {self.saved} is kept"
            lost = f"steps {(self.saved or 0) + 1} to {step} are lost, {kept}"
            raise InputError(
                f"step {step}: the loss or its gradient is not finite ({bad}); {lost}; try a lower "
                "--config.optim.learning_rate or --config.optim.clip_norm=1"
            )
