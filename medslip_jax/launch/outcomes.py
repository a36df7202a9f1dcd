"""Which ends of a training are worth running the same command again."""

from medslip_jax.exit_codes import INTERRUPTED, PREEMPTED, STUCK


def worth_another_run(code: int) -> bool:
    """True for a training that was preempted, stuck, killed by a signal, or cut off; False for done and for failures
    that would come again.

    Args:
      code: exit code as `subprocess` (-9 for SIGKILL), a shell, srun (137) or ssh (255: connection lost) gives it.
    """
    if code in (STUCK, PREEMPTED):
        return True
    return code < 0 or (code > 128 and code != INTERRUPTED)
