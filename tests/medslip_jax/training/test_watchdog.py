"""A process that hangs is ended by its watchdog, with its stacks; one that gets on is left alone."""

import subprocess
import sys

from medslip_jax.exit_codes import STUCK

# On a clock of its own, which a busy machine cannot hurry: the time allowed is 1 second of it.
HANGS = """
import time
from medslip_jax.training.watchdog import Watchdog

now, looks = 0.0, 0

def clock():
    global looks
    looks += 1
    return now

def stuck_here():
    global now
    now += 1.1
    time.sleep(600)

time.monotonic = clock
with Watchdog(1.0, who="medslip: process 0 of 1") as watchdog:
    for _ in range(4):
        now, before = now + 0.9, looks
        while looks == before:  # until the watchdog has looked
            time.sleep(0.01)
        watchdog.beat("between steps 3 and 4")
    print("got on", flush=True)
    {last}
"""


def run(last: str) -> subprocess.CompletedProcess:
    program = HANGS.format(last=last)
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=300)


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
    program = "from medslip_jax.training.watchdog import Watchdog\nimport time\nwith Watchdog(0): time.sleep(0.2)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
