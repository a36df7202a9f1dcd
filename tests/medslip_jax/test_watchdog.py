"""A process that hangs is ended by its watchdog, with its stacks; one that gets on is left alone."""

import subprocess
import sys

from medslip_jax.exit_codes import STUCK

HANGS = """
import time
from medslip_jax.watchdog import Watchdog

def stuck_here():
    time.sleep(60)

with Watchdog(1.0, who="medslip: process 0 of 1") as watchdog:
    for _ in range(8):
        time.sleep(0.3)
        watchdog.beat("between steps 3 and 4")
    print("got on", flush=True)
    {last}
"""


def run(last: str) -> subprocess.CompletedProcess:
    program = HANGS.format(last=last)
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)


def test_a_hung_process_names_what_it_did_and_shows_its_stacks():
    done = run("stuck_here()")
    assert done.returncode == STUCK and "got on" in done.stdout
    first = done.stderr.splitlines()[0]
    assert "process 0 of 1: nothing finished for" in first and "while between steps 3 and 4" in first
    assert "watchdog_minutes" in first and "the last checkpoint" in first
    assert "stuck_here" in done.stderr and "Thread" in done.stderr


def test_a_process_that_ends_in_time_is_left_alone():
    done = run("pass")
    assert done.returncode == 0 and done.stderr == ""


def test_zero_switches_it_off():
    program = "from medslip_jax.watchdog import Watchdog\nimport time\nwith Watchdog(0): time.sleep(0.2)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
