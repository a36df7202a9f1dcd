"""How the commands end, for scripts and launchers that decide whether to run the same command again."""

DONE = 0
# The verb says so: such as files of `predict` that could not be read.
FAILED = 1
# Bad input, a loss that is not finite, a full disk: the same command would fail again.
BAD_INPUT = 2
# No step finished in `watchdog_minutes`, or a process of the run is gone; BSD's EX_SOFTWARE. Run it again.
STUCK = 70
# SIGTERM: the step was finished and saved; BSD's EX_TEMPFAIL. Run it again and it goes on.
PREEMPTED = 75
# Ctrl-C, as shells say it.
INTERRUPTED = 130


def worth_another_run(code: int) -> bool:
    """True for a training that was preempted, stuck, killed by a signal, or cut off; False for done and for failures
    that would come again.

    Args:
      code: exit code as `subprocess` (-9 for SIGKILL), a shell, srun (137) or ssh (255: connection lost) gives it.
    """
    return code in (STUCK, PREEMPTED) or code < 0 or (code > 128 and code != INTERRUPTED)
