"""Where the time of training steps goes: waiting for data, waiting for the device, or the host's own work."""

import contextlib
import time
from collections.abc import Iterator


class StepClock:
    """Seconds since the last `restart`, by what was waited for.

    Steps run ahead of the host, which reads each step's metrics one step late: the time it then waits is what the
    device needs beyond data and host. Near 0 means that the device is the one that waits.

    Args:
      images: of a step, over all devices.
      chips: devices of the run.
      peak_flops: of a chip a second, None if unknown; `flops`, of a step on one chip, is set when it is compiled.
    """

    def __init__(self, *, images: int, chips: int, peak_flops: float | None = None):
        self._images, self._chips, self._peak = images, chips, peak_flops
        self.flops: float | None = None
        self.restart()

    def restart(self) -> None:
        """A window starts here: what came before was compiling, validating or saving."""
        self._since, self._steps = time.perf_counter(), 0
        self._waited = {"data": 0.0, "device": 0.0}

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Counts the time inside as a wait for "data" or "device"."""
        start = time.perf_counter()
        yield
        self._waited[what] += time.perf_counter() - start

    def step(self) -> None:
        """One more step is done."""
        self._steps += 1

    def pop(self) -> dict[str, float]:
        """Means a step of the window, which ends; {} if there was no step.

        "step_seconds" is the sum of "data_seconds", "device_seconds" and "host_seconds"; "images_per_second" over all
        chips, "images_per_second_per_chip"; "mfu", model FLOPs utilisation: FLOPs of the step's program over what the
        chip could do in that time, where both are known.
        """
        seconds, steps, waited = time.perf_counter() - self._since, self._steps, self._waited
        self.restart()
        if not steps:
            return {}
        each = max(seconds / steps, 1e-9)
        parts = {f"{what}_seconds": value / steps for what, value in waited.items()}
        rate = self._images / each
        rates = {"images_per_second": rate, "images_per_second_per_chip": rate / self._chips}
        known = {"mfu": self.flops / each / self._peak} if self.flops and self._peak else {}
        return {"step_seconds": each, **parts, "host_seconds": each - sum(parts.values()), **rates, **known}
