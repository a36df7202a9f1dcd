"""Ctrl-C as a terminal sends it, to a whole process group: 130, one line, nothing left behind, whatever is going on."""

import contextlib
import ctypes
import functools
import gc
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from run_processes import ROOT, TINY, steps_saved
from warm_processes import FORKS, see_devices

from medslip_jax import interrupts
from medslip_jax.checkpoints.integrity import damage
from medslip_jax.cli import main
from medslip_jax.exit_codes import INTERRUPTED
from medslip_jax.storage.files import replacing_file

LINE = "medslip: interrupted"
PHANTOM = f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"
# Also streams=pathology, which compiles in half the time.
SMALL = (*TINY, "--config.num_steps=4000", "--config.model.streams=pathology")


class Group:
    """`medslip VERB ...`, or a function before it, as the leader of a process group of its own."""

    def __init__(self, argv: list[str], log: Path, *, first: Callable[..., None] | None = None, given: tuple = ()):
        log.touch()
        self._log = log
        self.process = FORKS.Process(target=_lead, args=(argv, log, first, given))
        self.process.start()

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def until(self, reached: Callable[[], bool], *, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert self.process.exitcode is None, self.output()[-3000:]
            assert time.monotonic() < end, self.output()[-3000:]
            time.sleep(0.01)

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def check_ended(self) -> str:
        """With 130, one line of ours as the last, no traceback, and nobody left in the group; the output."""
        try:
            self.process.join(120)
            assert self.process.exitcode == INTERRUPTED, self.output()[-3000:]
            said = self.output()
            assert said.splitlines()[-1].endswith(LINE) and said.count("interrupted") == 1, said[-3000:]
            assert not any(word in said for word in ("Traceback", "ignored in", "Error", "leaked")), said[-3000:]
            assert alive_in(self.process.pid) == []
        finally:
            with contextlib.suppress(ProcessLookupError):  # all have ended
                os.killpg(self.process.pid, signal.SIGKILL)
        return said


def alive_in(group: int) -> list[str]:
    """Command lines of the processes of a group that have not ended; the kernel may take a moment for a killed one."""
    found: list[str] = []
    for _ in range(100):
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                state, _, number = (directory / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(number) == group and state not in "ZX":
                    found.append((directory / "cmdline").read_text().replace("\0", " "))
        if not found:
            break
        time.sleep(0.02)
    return found


def _lead(argv: list[str], log: Path, first: Callable[..., None] | None, given: tuple) -> None:
    """What `python -m medslip_jax.cli.main` does, in a fork that is alone in its group."""
    os.setsid()
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    os.chdir(ROOT)
    see_devices(1)
    if first is not None:
        first(*given)
    sys.argv[1:] = argv
    sys.exit(main.main())


def press(*_) -> None:
    os.killpg(0, signal.SIGINT)


def press_at(event: str, part: str) -> None:
    """Ctrl-C when Python first reports an audit event with `part` in its first argument."""
    pressed = []

    def look(name: str, arguments: tuple) -> None:
        if name == event and not pressed and part in str(arguments[0]):
            pressed.append(True)
            press()

    sys.addaudithook(look)


def press_at_import(name: str) -> None:
    sys.modules.pop(name, None)  # the warm process has some already
    press_at("open", f"/{name.rpartition('.')[2]}.")  # its .py or .pyc


def before(function: str, first: Callable[[], object]) -> None:
    """Lets "module:name.name" begin with a call of `first`."""
    module, _, names = function.partition(":")
    *path, name = names.split(".")
    holder = functools.reduce(getattr, path, importlib.import_module(module))
    original = getattr(holder, name)

    @functools.wraps(original)
    def replaced(*args, **kwargs):
        first()
        return original(*args, **kwargs)

    setattr(holder, name, replaced)


def lose_it() -> None:
    """Ctrl-C inside a callback of the garbage collector, which ignores exceptions; JAX has such a callback."""

    def callback(*_) -> None:
        gc.callbacks.remove(callback)
        press()
        for _ in range(1000):
            pass

    gc.callbacks.append(callback)
    gc.collect()


def hang(unfinished: Path, grace: float) -> None:
    """Writes a file and has a process, then waits in C for ever, as for a compiler that takes its time."""
    interrupts.GRACE_SECONDS, interrupts._ONE_PRESS_SECONDS = grace, 0.2
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("fork").Process(target=_stay, args=(theirs,), daemon=True).start()
    ours.recv()
    with replacing_file(unfinished) as temporary:
        temporary.touch()
        mutex, libc = ctypes.create_string_buffer(256), ctypes.CDLL(None)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)


def import_late(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder):
        press_at_import("wave")
        importlib.import_module("wave")
        time.sleep(600)


def _stay(ready) -> None:
    """As data workers do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready.send(True)
    time.sleep(600)


def interrupted(argv: list[str], log: Path, *, first: Callable[..., None], given: tuple = ()) -> str:
    return Group(argv, log, first=first, given=given).check_ended()


@pytest.fixture(scope="module")
def stopped(phantom_data, tmp_path_factory) -> Path:
    """The work directory of a run that Ctrl-C ended while it saved at every step."""
    workdir = tmp_path_factory.mktemp("stopped")
    argv = ["pretrain", PHANTOM, f"--workdir={workdir}", f"--config.data.dir={phantom_data}", *SMALL]
    run = Group([*argv, "--config.save_every=1"], workdir.with_suffix(".log"))
    run.until(lambda: len(steps_saved(workdir)) > 1)
    run.interrupt()
    run.check_ended()
    return workdir


@pytest.mark.parametrize("verb", sorted(main.VERBS))
def test_every_verb_while_its_module_is_imported(verb, tmp_path):
    said = interrupted([verb], tmp_path / "log", first=press_at_import, given=(main.VERBS[verb][0],))
    assert said == f"{LINE}\n"


@pytest.mark.parametrize("module", ["numpy", "jax", "grain"])
def test_a_cold_start(module):
    """No warm process: what a library does while it is imported must not swallow it."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"sys.addaudithook(lambda e, a: e == 'import' and a[0] == {module!r} and os.killpg(0, signal.SIGINT)); "
        "from medslip_jax.cli import main as cli; sys.argv = ['medslip', 'pretrain']; sys.exit(cli.main())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stderr) == (INTERRUPTED, f"{LINE}\n")


def test_what_was_saved_is_complete(stopped):
    found = {step: damage(stopped / "checkpoints" / str(step)) for step in steps_saved(stopped)}
    assert found and set(found.values()) == {None}


@pytest.mark.parametrize("function", ["jax.stages:Lowered.compile", "medslip_jax.pretraining.validation:score"])
def test_a_run_that_goes_on(function, stopped, phantom_data, tmp_path):
    """While it compiles, and while it validates."""
    argv = ["pretrain", PHANTOM, f"--workdir={stopped}", f"--config.data.dir={phantom_data}", *SMALL]
    moment = (function, press)
    said = interrupted([*argv, "--config.eval_every=1"], tmp_path / "log", first=before, given=moment)
    assert f"newest checkpoint: {stopped / 'checkpoints' / str(steps_saved(stopped)[-1])}" in said


def test_one_that_a_callback_loses(stopped, tmp_path):
    argv = ["evaluate", f"--checkpoint={stopped}", f"--out={tmp_path / 'out'}"]
    interrupted(argv, tmp_path / "log", first=before, given=("medslip_jax.evaluation.run:score_splits", lose_it))
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize(("grace", "presses"), [(0.3, 1), (1000, 2)])
def test_code_that_does_not_come_back(grace, presses, tmp_path):
    """It is waited for a moment, or until Ctrl-C is pressed again."""
    (tmp_path / "out").mkdir()
    stay = functools.partial(hang, tmp_path / "out" / "page.html", grace)
    run = Group(["report", "runs"], tmp_path / "log", first=before, given=("medslip_jax.cli.report:main", stay))
    run.until(lambda: any((tmp_path / "out").iterdir()))
    for _ in range(presses):
        time.sleep(0.5)  # past what counts as one press; the first may also come a moment before it hangs
        run.interrupt()
    run.check_ended()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_temporary_folder_goes_when_a_module_is_imported_late(tmp_path):
    (tmp_path / "out").mkdir()
    late = functools.partial(import_late, tmp_path / "out")
    interrupted(["report", "runs"], tmp_path / "log", first=before, given=("medslip_jax.cli.report:main", late))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "argv", "names"),
    [
        ("convert", ["--from={run}", "--to={out}/m.safetensors"], ["m.safetensors"]),
        ("convert", ["--from={run}", "--to={out}/m"], ["m"]),
        ("export", ["--from={run}", "--to={out}/m.zip"], ["m.zip"]),
        ("predict", ["--checkpoint={run}", "--images={image}", "--out={out}"], ["overlays"]),
        ("evaluate", ["--checkpoint={run}", "--out={out}", "--resamples=5", "--pictures=0"], None),
        ("data", ["show", "{data}/phantom", "--out={out}/c.html"], ["c.html"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_while_a_result_gets_its_name(verb, argv, names, stopped, phantom_data, tmp_path):
    """It is there or it is not, and nothing lies beside it."""
    out, image = tmp_path / "out", tmp_path / "a.png"
    out.mkdir()
    cv2.imwrite(str(image), np.arange(4096, dtype=np.uint8).reshape(64, 64))
    places = {"run": stopped, "out": out, "image": image, "data": phantom_data}
    interrupted(
        [verb, *(word.format(**places) for word in argv)],
        tmp_path / "log",
        first=press_at,
        given=("os.rename", str(out)),
    )
    there = [file.name for file in out.iterdir()]
    assert not any(name.startswith(".") for name in there)
    assert names is None or there in ([], names)


def test_a_build_goes_on(tmp_path):
    argv = [
        "data",
        "build",
        "phantom",
        f"--out={tmp_path / 'data'}",
        "--train=24",
        "--validation=8",
        "--test=8",
        "--size=64",
        "--workers=1",
    ]
    interrupted(argv, tmp_path / "log", first=press_at, given=("os.rename", str(tmp_path / "data")))
    assert main.main(argv) == 0


def test_fine_tuning(phantom_data, tmp_path):
    config = f"--config={ROOT / 'configs' / 'finetune_classification.py'}:data=phantom,tiny"
    small = ("--config.data.image_size=32", "--config.model.trunk_width=4", "--config.model.backbone=resnet18")
    argv = ["finetune", config, f"--workdir={tmp_path}", f"--config.data.dir={phantom_data}", *small]
    interrupted(argv, tmp_path / "log", first=before, given=("jax.stages:Lowered.compile", press))


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["sweep", "launch"])
def test_verbs_that_start_verbs(verb, phantom_data, tmp_path):
    """The line comes once, from the verb that the user started."""
    workdir, small = tmp_path / "runs", (f"--config.data.dir={phantom_data}", *SMALL)
    if verb == "sweep":
        argv = ["sweep", f"--config={ROOT / 'configs' / 'ablations.py'}:tiny", f"--workdir={workdir}", *small]
        sign = "images, 4000 steps"
    else:
        argv = ["launch", "local", "--processes=2", "--devices_per_process=1", "--"]
        argv += ["pretrain", PHANTOM, f"--workdir={workdir}", *small]
        sign = "[1] "  # which waits for the other
    run = Group(argv, tmp_path / "log")
    run.until(lambda: sign in run.output())
    run.interrupt()
    run.check_ended()


def test_who_ignores_it_is_not_interrupted():
    """As below nohup, or in the background of a script."""
    code = (
        "import os, signal, sys; from medslip_jax.cli import main as cli; "
        "signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "cli.usage = lambda: os.killpg(0, signal.SIGINT) or 'as usual'; sys.argv[1:] = ['--help']; sys.exit(cli.main())"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, start_new_session=True, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "as usual\n")
