"""Processes of their own that start warm: forks of one that has imported the trainer, which takes seconds."""

import multiprocessing
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["medslip_jax.cli.finetune"])  # and with it all that pre-training imports


def together(function: Callable, arguments: Sequence[tuple], *, devices: int, timeout: float = 600) -> list[Any]:
    """What `function`, which a module has by name, returns for each tuple, all at once in processes of their own.

    Args:
      devices: how many CPU devices each sees.
      timeout: seconds, for each.

    Raises:
      AssertionError: one raised (with its traceback), died or took too long; none is left running.
    """
    processes, ends = [], []
    for one in arguments:
        receiver, sender = FORKS.Pipe(duplex=False)
        processes.append(FORKS.Process(target=_send_result, args=(sender, function, one, devices)))
        processes[-1].start()
        sender.close()
        ends.append(receiver)
    try:
        return [_received(end, timeout) for end in ends]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _received(end, timeout: float) -> Any:
    assert end.poll(timeout), f"no result after {timeout} s"
    try:
        result, trace = end.recv()
    except EOFError:
        raise AssertionError("the process died") from None
    assert trace is None, trace
    return result


def _send_result(sender, function: Callable, arguments: tuple, devices: int) -> None:
    import jax

    see_devices(devices)
    try:
        sender.send((function(*arguments), None))
    except BaseException:
        sender.send((None, traceback.format_exc()))
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def see_devices(count: int) -> None:
    """In a fork, whose JAX has read the environment already."""
    import jax

    jax.config.update("jax_num_cpu_devices", count)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
