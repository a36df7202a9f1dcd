"""Getting a TPU pod, knowing whether it is still ours, and giving it back."""

import time
from collections.abc import Callable, Sequence

from medslip_jax.errors import InputError
from medslip_jax.launch import commands
from medslip_jax.launch.commands import say
from medslip_jax.launch.gcloud import Pod

# States of a queued resource (Cloud TPU API v2, QueuedResourceState); CREATING and ACCEPTED are older names of waiting.
ACTIVE = "ACTIVE"
WAITING = ("CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING")
LEAVING = ("SUSPENDING", "DELETING")
DEAD = ("SUSPENDED", "FAILED")
ABSENT = "ABSENT"  # ours: there is no such resource
REFUSED = "REFUSED"  # ours: gcloud did not accept the request
# The one state of a node that can be worked with; others are PREEMPTED, TERMINATED, STOPPED, REPAIRING ...
_READY = "READY"

_SILENCE = 120  # answers that may fail in a row, as networks do: an hour at the usual pace
_TRIES = 3  # to delete


def check_access(pod: Pod) -> None:
    """`InputError` if gcloud cannot even list: not logged in, no such zone or project."""
    if commands.output_of(pod.list_requests()) is None:
        raise InputError(f"gcloud cannot list TPUs in --zone {pod.zone}: see its message above, and gcloud auth login")


def acquire(pod: Pod, *, poll: float, timeout: float) -> str:
    """Asks for the pod, unless it is there already, and waits: the state that it came to.

    Args:
      pod: which.
      poll: seconds between looks.
      timeout: seconds to wait in the queue; after them the state is one of WAITING.
    """
    state = _wait(pod, lambda state: state in LEAVING, poll=poll, timeout=timeout)
    if state in DEAD:
        give_back(pod, poll=poll)
        state = ABSENT
    if state != ABSENT:
        say(f"{pod.name} is there already, {state}")
    elif commands.run(pod.create()) != 0:
        return REFUSED
    state = _wait(pod, lambda state: state in WAITING, poll=poll, timeout=timeout)
    if state in DEAD:
        commands.run(pod.describe())  # says why
    return state


def is_ours(pod: Pod, *, poll: float) -> bool:
    """Whether the request is still active and its machines ready; False once the pod was taken away."""
    if request_state(pod, poll=poll) != ACTIVE:
        return False
    return _state(pod.name, pod.list_machines(), poll=poll) == _READY


def give_back(pod: Pod, *, poll: float) -> None:
    """Deletes the pod, or says loudly that it could not and how to do it by hand."""
    _wait(pod, lambda state: state in LEAVING, poll=poll, timeout=20 * poll)
    for _ in range(_TRIES):
        if commands.run(pod.delete()) == 0:
            return
        if request_state(pod, poll=poll) == ABSENT:
            return
        time.sleep(poll)
    say(f"{pod.name} COULD NOT BE DELETED AND COSTS MONEY; delete it by hand: {commands.shown(pod.delete())}")


def request_state(pod: Pod, *, poll: float) -> str:
    """State of the queued resource; ABSENT if there is none."""
    return _state(pod.name, pod.list_requests(), poll=poll)


def _state(name: str, listing: Sequence[str], *, poll: float) -> str:
    for attempt in range(_SILENCE):
        if attempt:
            time.sleep(poll)
        text = commands.output_of(listing)
        if text is not None:
            states = dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)
            return states.get(name, ABSENT).strip()
    raise InputError(f"gcloud no longer answers, see its message above; while {name} exists, it costs money")


def _wait(pod: Pod, undecided: Callable[[str], bool], *, poll: float, timeout: float) -> str:
    """Looks until the state is no longer undecided or the time is over; says each new state."""
    start, told = time.monotonic(), None
    while True:
        state, waited = request_state(pod, poll=poll), time.monotonic() - start
        if not undecided(state):
            return state
        if state != told:
            say(f"{pod.name}: {state} after {waited / 60:.0f} min; waiting at most {timeout / 60:.0f} min")
            told = state
        if waited >= timeout:
            return state
        time.sleep(poll)
