"""Which checkpoints of a run stay: the newest, one of every so many hours, the best."""

import math
from collections.abc import Mapping

from orbax.checkpoint import checkpoint_managers

from medslip_jax.errors import InputError


def retention(*, keep: int, keep_every_hours: float, best_metric: str | None, best_mode: str) -> dict:
    """Fields of `CheckpointManagerOptions` that say which checkpoints stay; see `Checkpoints`."""
    if keep < 1 or keep_every_hours < 0 or best_mode not in ("max", "min"):
        raise InputError(
            f"keep={keep}, keep_every_hours={keep_every_hours}, best_mode={best_mode!r}: "
            "keep must be at least 1, the hours at least 0, the mode max or min"
        )
    policies = [checkpoint_managers.LatestN(keep)]
    if keep_every_hours:
        policies.append(checkpoint_managers.EveryNSeconds(max(1, round(keep_every_hours * 3600))))
    if best_metric is None:
        return {"preservation_policy": checkpoint_managers.AnyPreservationPolicy(policies)}
    worst = -math.inf if best_mode == "max" else math.inf

    def value(metrics: Mapping[str, float]) -> float:
        known = metrics.get(best_metric, worst)
        return worst if math.isnan(known) else known

    best = checkpoint_managers.BestN(
        get_metric_fn=value, reverse=best_mode == "min", n=1, keep_checkpoints_without_metrics=False
    )
    policy = checkpoint_managers.AnyPreservationPolicy([*policies, best])
    # best_fn decides nothing beside a policy, but without it Orbax does not write the metrics.
    return {"preservation_policy": policy, "best_fn": value, "best_mode": best_mode}
