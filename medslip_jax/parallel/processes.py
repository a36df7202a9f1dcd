"""The processes of one run: how they find each other, that they run the same thing, and how one of them leaves."""

import argparse
import contextlib
import importlib
import importlib.metadata
import itertools
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils

from medslip_jax.errors import InputError, Preempted
from medslip_jax.exit_codes import BAD_INPUT, FAILED, STUCK

# A process that is gone is noticed after this many seconds at most, where no collective fails before.
HEARTBEAT_SECONDS = 40
# Compiling takes one process longer than another, but not by so much.
_BARRIER_SECONDS = 3600
# Of these all processes need the same version.
_PACKAGES = ("medslip_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that `processes` reads."""
    group = parser.add_argument_group("several processes (hosts of a TPU pod, GPU nodes, or on one machine)")
    group.add_argument(
        "--distributed",
        choices=("auto", "off", "tpu", "slurm"),
        default="auto",
        help="where the processes are listed; auto: the flags below, srun, or the hosts of a TPU pod on GKE",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0, with the next two flags")
    group.add_argument("--processes", type=int, help="how many there are")
    group.add_argument("--process_id", type=int, help="which one this is, from 0")
    group.add_argument("--connect_timeout", type=float, default=300, help="seconds to wait for all (%(default)g)")


@contextlib.contextmanager
def processes(args: argparse.Namespace) -> Iterator[None]:
    """Joins this process to its run; inside, `jax.devices()` are those of all processes.

    An error in one process of several ends it at once, as JAX's own way out waits for the others, who in turn wait
    for it in a collective: bad input with `BAD_INPUT`, the loss of another process with `STUCK`.

    Args:
      args: with the flags of `add_flags`.

    Raises:
      InputError: flags that do not fit.
    """
    _connect(args)
    try:
        yield
    except Preempted:
        # All processes end so, together.
        raise
    except Exception as error:
        if jax.process_count() == 1:
            raise
        _leave(error)


def _connect(args: argparse.Namespace) -> None:
    given = {
        "coordinator_address": args.coordinator,
        "num_processes": args.processes,
        "process_id": args.process_id,
    }
    named = [value is not None for value in given.values()]
    if any(named):
        if not all(named):
            raise InputError("--coordinator, --processes and --process_id go together")
        if not 0 <= args.process_id < args.processes:
            raise InputError(f"--process_id {args.process_id}: must be from 0 to {args.processes - 1}")
        host, _, port = args.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise InputError(f"--coordinator {args.coordinator}: must be HOST:PORT")
        who = f"process {args.process_id} of {args.processes}"
        where = f"at {args.coordinator}"
    else:
        found = _surroundings() if args.distributed == "auto" else args.distributed
        if found == "off":
            return
        who, where = _listed(found)
        given = {}
    print(f"{who}: waiting for the others {where} (at most {args.connect_timeout:g} s)", flush=True)
    timer = threading.Timer(args.connect_timeout, _give_up, [who, where, args.connect_timeout])
    timer.daemon = True
    timer.start()
    try:
        # JAX's own time-out aborts the process with a stack; ours comes first.
        patience = int(args.connect_timeout) + 60
        jax.distributed.initialize(
            **given, initialization_timeout=patience, heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except ValueError as error:
        raise InputError(f"--distributed {args.distributed}: {' '.join(str(error).split())[:300]}") from error
    except RuntimeError as error:
        print(f"medslip: {who}: cannot join the others {where} ({' '.join(str(error).split())[:300]})", file=sys.stderr)
        raise SystemExit(STUCK) from error
    finally:
        timer.cancel()
    here = f"process {jax.process_index()} of {jax.process_count()}"
    print(f"{here}: all are here, with {jax.device_count()} {jax.devices()[0].platform} devices", flush=True)


def _surroundings() -> str:
    """What the environment says about other processes: "slurm", "tpu" or "off"."""
    # Inside salloc or sbatch, but not under srun, there is only this one process.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in os.environ:
        return "slurm"
    return "tpu" if "," in os.environ.get("TPU_WORKER_HOSTNAMES", "") else "off"


def _listed(found: str) -> tuple[str, str]:
    """(who, where) for the message, as far as the environment says."""
    if found == "slurm":
        number, count = os.environ.get("SLURM_PROCID", "?"), os.environ.get("SLURM_STEP_NUM_TASKS", "?")
        return f"process {number} of {count}", f"of Slurm job {os.environ.get('SLURM_JOB_ID', '?')}"
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    count = str(hosts.count(",") + 1) if hosts else "?"
    return f"process {os.environ.get('TPU_WORKER_ID', '?')} of {count}", "of the TPU pod"


def _give_up(who: str, where: str, seconds: float) -> None:
    print(
        f"medslip: {who}: the others {where} were not all there after {seconds:g} s; start all processes, check that "
        "this port can be reached from every host, or raise --connect_timeout",
        file=sys.stderr,
        flush=True,
    )
    os._exit(STUCK)


def barrier(name: str) -> None:
    """Waits until every process of the run has come to the barrier of this name, which is used once.

    Unlike a collective it needs no device, and may take long: XLA's collectives on CPUs give a process that comes 30
    seconds late up for lost.
    """
    if jax.process_count() > 1:
        wait = _service_barrier()
        if wait is None:
            multihost_utils.sync_global_devices(name)
        else:
            wait(name, timeout_in_ms=_BARRIER_SECONDS * 1000)


def _service_barrier() -> Callable | None:
    """The barrier of JAX's coordination service, which has no public name; None where this JAX has it elsewhere.

    Without it `barrier` is a collective, with the limits of one.
    """
    try:
        return importlib.import_module("jax._src.distributed").global_state.client.wait_at_barrier
    except (ImportError, AttributeError):
        return None


class CompiledTogether:
    """A jitted function that no process runs before all have compiled it, always with arguments of the same shapes.

    Args:
      function: from `jax.jit`.
      name: for the message of a process that waits in vain.
    """

    _numbers = itertools.count()

    def __init__(self, function: jax.stages.Wrapped, *, name: str):
        # Every process makes them in the same order.
        self._function, self._name = function, f"{name}, program {next(self._numbers)}"
        self._compiled: jax.stages.Compiled | None = None

    def __call__(self, *args):
        return self.compiled(*args)(*args)

    def compiled(self, *args) -> jax.stages.Compiled:
        """The program, compiled at the first call."""
        if self._compiled is None:
            self._compiled = self._function.lower(*args).compile()
            barrier(f"compiled {self._name}")
        return self._compiled


def agree(config: Mapping, *, local: tuple[str, ...] = ()) -> None:
    """Every process of the run has this config and these package versions.

    Args:
      config: plain nested dict.
      local: prefixes of dotted keys that may differ between hosts.

    Raises:
      InputError: on all processes, with what differs from process 0.
    """
    if jax.process_count() == 1:
        return
    barrier("configs")
    facts = {k: v for k, v in flatten_dict(dict(config), sep=".").items() if not k.startswith(local)}
    facts |= {f"version of {name}": _version(name) for name in _PACKAGES}
    everyone = [json.loads(text) for text in _gathered(json.dumps(facts, sort_keys=True, default=str))]
    lines = [
        f"process {i} has {key}={other.get(key)!r} and process 0 {everyone[0].get(key)!r}"
        for i, other in enumerate(everyone)
        for key in sorted(everyone[0].keys() | other.keys())
        if other.get(key) != everyone[0].get(key)
    ]
    if lines:
        more = f" and {len(lines) - 6} more" if len(lines) > 6 else ""
        raise InputError(f"the processes do not run the same thing: {'; '.join(lines[:6])}{more}")


def decided_together(decide: Callable[[], object]):
    """What process 0 decides (something that JSON can say), on every process; so with an InputError of its."""
    if jax.process_count() == 1:
        return decide()
    answer = {}
    if jax.process_index() == 0:
        try:
            answer = {"value": decide()}
        except InputError as error:
            answer = {"error": str(error)}
    answer = json.loads(_gathered(json.dumps(answer))[0])
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gathered(text: str) -> list[str]:
    """The texts of all processes, in their order."""
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([data.size], np.int32)).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded).reshape(len(sizes), -1)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def _misses_another(error: BaseException | None) -> bool:
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error)


def _leave(error: Exception) -> None:
    """Says why and ends this process of several, without waiting for the others."""
    who = f"medslip: process {jax.process_index()} of {jax.process_count()}"
    text = " ".join(str(error).split())
    if _misses_another(error) or _misses_another(error.__cause__):  # also in the middle of a save, which then fails
        code = STUCK
        message = (
            f"another process is gone, or cannot be reached ({text[:300]}); when all are ended, the same command goes "
            "on from the last checkpoint"
        )
    elif isinstance(error, InputError):
        code, message = BAD_INPUT, text
    else:
        traceback.print_exc()
        code, message = FAILED, f"{type(error).__name__}; the other processes end when they miss this one"
    print(f"{who}: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
