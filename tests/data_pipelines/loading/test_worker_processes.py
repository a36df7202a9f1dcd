"""Worker processes seen from outside: what is left of them, and in /dev/shm, when their parent is gone."""

import os
import signal
from pathlib import Path

import pytest
from process_traces import Family, require_own_shared_memory

from data_pipelines.loading.worker_processes import NoSharedMemory, explained
from medslip_jax.exit_codes import BAD_INPUT, INTERRUPTED, STUCK

# A parent with workers that are ahead of it, and ways to end.
READER = """
import sys
import time
from pathlib import Path
import process_traces

def end(way):
    from medslip_jax import errors
    from medslip_jax.parallel import processes
    from medslip_jax.training import watchdog
    if way == "watchdog":
        with watchdog.Watchdog(0.2):
            time.sleep(600)
    if way == "_leave":
        processes._leave(errors.InputError("the processes do not run the same thing"))
    time.sleep(600)

if __name__ == "__main__":
    own = process_traces.own_shared_memory("size=2m")
    way, go, workers = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    import numpy as np
    from data_pipelines import images
    from data_pipelines.loading.loader import Loader
    from medslip_jax import interrupts
    if way == "interrupt":  # as in every verb
        ctrl_c = interrupts.CtrlC()
        ctrl_c.__enter__()
        ctrl_c.begun = True
        from multiprocessing import shared_memory
        # A batch that was taken from the queue and not opened yet, as where Ctrl-C comes in between.
        shared_memory.SharedMemory(create=True, size=1).close()
    image = images.encode_grey(np.zeros((32, 32), np.uint8))
    record = {"image": image, "image_id": "a", "matrix": np.zeros((51, 75), np.int8)}
    loader = Loader([record], batch_size=8, image_size=64, train=True, workers=workers)
    print("own" if own else "shared", flush=True)
    try:
        next(loader)
        print("reading", flush=True)
        while way == "interrupt":
            next(loader)
    except KeyboardInterrupt:
        loader.close()
        ctrl_c.end()
    while not go.exists():
        time.sleep(0.01)
    if way == "full":
        try:
            with open("/dev/shm/other", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
    if way in ("full", "lost"):
        try:
            while True:
                next(loader)
        except errors.InputError as error:
            print(error)
            sys.exit(2)
    end(way)
""".replace("import process_traces\n", "import process_traces\nfrom medslip_jax import errors\n", 1)


@pytest.mark.portable
@pytest.mark.parametrize(
    ("way", "code", "workers"), [("kill", -signal.SIGKILL, 2), ("watchdog", STUCK, 1), ("_leave", BAD_INPUT, 1)]
)
def test_nothing_outlives_a_parent_that_ends_without_cleaning_up(way, code, workers, tmp_path):
    with Family(READER, way, tmp_path / "go", workers, directory=tmp_path) as family:
        family.until(lambda: "reading" in family.output())
        own = family.output().startswith("own")
        shared = family.shared_memory()
        # All buffers are full: four batches of two arrays each.
        family.until(lambda: not own or sum(name.startswith("psm_") for name in shared()) >= 8 * workers)
        assert len(family.workers()) == workers
        if way == "kill":
            family.parent.kill()
        (tmp_path / "go").touch()
        assert family.parent.wait(60) == code, family.output()[-2000:]
        assert family.ends() and (not own or shared() == []), (family.alive(), shared())


@pytest.mark.portable
@pytest.mark.parametrize("moment", ["starting", "reading"])
def test_ctrl_c_is_the_parents_alone(moment, tmp_path):
    with Family(READER, "interrupt", tmp_path / "go", 1, directory=tmp_path) as family:
        family.until(lambda: family.workers() if moment == "starting" else "reading" in family.output())
        shared = family.shared_memory()
        os.killpg(family.parent.pid, signal.SIGINT)
        assert family.parent.wait(60) == INTERRUPTED and family.ends(), family.output()
        assert not family.output().startswith("own") or shared() == []
        *before, said = family.output().splitlines()
        assert said == "medslip: interrupted" and before in (["own"], ["own", "reading"]), family.output()


def test_dev_shm_that_becomes_full_is_named(tmp_path):
    require_own_shared_memory()
    with Family(READER, "full", tmp_path / "go", 1, directory=tmp_path) as family:
        (tmp_path / "go").touch()
        assert family.parent.wait(60) == 2, family.output()
        assert "killed by SIGBUS, as happens where /dev/shm becomes full (now " in family.output()
        assert "--config.data.workers=0" in family.output() and "goes on from the last checkpoint" in family.output()


STUBBORN = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from data_pipelines.loading.worker_processes import begin_worker

def work(way, ready):
    begin_worker()
    if way == "deep":  # as in a library call that comes back to no Python code
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    else:  # made and not registered yet
        segment = open(way, "w")
    Path(ready).touch()
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=work, args=sys.argv[1:3])
    process.start()
    time.sleep(600)
"""


@pytest.mark.portable
@pytest.mark.parametrize("where", ["deep", "not registered"])
def test_no_worker_is_too_busy_to_end(where, tmp_path):
    ready = tmp_path / "ready"
    way = "deep" if where == "deep" else f"/dev/shm/psm_medslip_test_{os.getpid()}"
    with Family(STUBBORN, way, ready, directory=tmp_path) as family:
        family.until(ready.exists)
        assert way == "deep" or Path(way).exists()
        family.parent.kill()
        assert family.ends(), family.output()
        assert not Path(way).exists()


@pytest.mark.portable
def test_a_killed_worker_is_one_clear_line(tmp_path):
    with Family(READER, "lost", tmp_path / "go", 1, directory=tmp_path) as family:
        family.until(lambda: "reading" in family.output())
        (worker,) = family.workers()
        os.kill(worker, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert family.parent.wait(60) == 2, family.output()
        assert "a data worker was killed by SIGKILL, as happens where memory runs out" in family.output()
        assert "goes on from the last checkpoint" in family.output() and family.ends()


def test_other_errors_are_not_explained():
    assert explained(RuntimeError("something else")) is None
    assert explained(FileNotFoundError(2, "No such file", "train.array_record")) is None
    assert isinstance(explained(FileNotFoundError(2, "No such file", "/psm_1")), NoSharedMemory)
    ended = RuntimeError("Worker process was terminated unexpectedly with exit code 3. Search the logs")
    assert "a data worker ended with exit code 3 (--config.data.workers" in str(explained(ended))
