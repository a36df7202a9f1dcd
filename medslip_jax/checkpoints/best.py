"""The best checkpoint of a run by validation, beside the newest ones: WORKDIR/best, a model without training state.

A run that is resumed passes the same states again, so a best one from after the checkpoint it resumes from stays right.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
from jax.sharding import Mesh

from medslip_jax.checkpoints.reading import read_info
from medslip_jax.checkpoints.writing import write_model
from medslip_jax.errors import InputError
from medslip_jax.parallel.processes import barrier, decided_together
from medslip_jax.parallel.sharding import to_host
from medslip_jax.storage.files import replacing_directory


class Best:
    """Keeps the model with the highest value of `metric` so far; of equal ones the first.

    Args:
      workdir: the run's directory.
      config: of the run, written beside the model.
      metric: name of the value.

    Raises:
      InputError: what lies there was chosen by another metric.
    """

    def __init__(self, workdir: str | Path, *, config: Mapping, metric: str):
        self.directory = Path(workdir).absolute() / "best"
        self._config, self._metric = config, metric
        if (before := self.known.get("metric", metric)) != metric:
            raise InputError(f"{self.directory}: chosen by {before}, not {metric}; take another --workdir")

    @property
    def known(self) -> dict:
        """{"step", "metric", "value"} of the best so far, {} if there is none."""
        return read_info(self.directory).get("best", {})

    def offer(self, value: float, *, step: int, variables: Mapping, mesh: Mesh) -> bool:
        """Writes {"params", "batch_stats"} if they are better, and returns whether they were; all processes call it.

        Raises:
          InputError: the directory cannot be written.
        """
        # Hosts come here at their own pace, and a collective gives up on a late one: hence the barrier.
        barrier(f"value of step {step}")
        # Process 0 decides for all: it writes, and a process that looked afterwards would find its own value known.
        if not decided_together(lambda: self._is_better(value)):
            return False
        whole = to_host(mesh, dict(variables))
        if jax.process_index() == 0:
            info = {"best": {"step": step, "metric": self._metric, "value": value}}
            with replacing_directory(self.directory) as temporary:
                write_model(temporary, whole, config=self._config, info=info)
        # The others read what is known from this directory.
        barrier(f"best of step {step}")
        return True

    def _is_better(self, value: float) -> bool:
        known = self.known
        return not known or value > known["value"]
