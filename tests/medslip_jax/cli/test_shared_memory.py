"""Odd /dev/shm, as containers have it: what the verbs that start workers say, in mount namespaces of their own."""

import contextlib
import io
from pathlib import Path

import pytest
from places import CONFIGS
from process_traces import own_shared_memory, require_own_shared_memory
from warm_processes import together

COUNTS = ("--train=4", "--validation=1", "--test=1")
TINY = ("--config.data.workers=2", "--config.data.image_size=32", "--config.model.trunk_width=4")


def run(options: str, fill: str, verbs: list[list[str]]) -> list[tuple[int, str]]:
    """(exit code, stderr) of each, with another /dev/shm."""
    assert own_shared_memory(options)
    if fill:
        with contextlib.suppress(OSError):
            Path("/dev/shm/other").write_bytes(bytes(2**20))
    from medslip_jax.cli import main

    found = []
    for argv in verbs:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = main.main(argv)
        found.append((code, said.getvalue()))
    return found


def odd(options: str, verbs: list[list[str]], *, fill: str = "") -> list[tuple[int, str]]:
    require_own_shared_memory()
    return together(run, [(options, fill, verbs)], devices=1)[0]


@pytest.fixture
def verbs(phantom_data, tmp_path) -> list[list[str]]:
    data = f"--config.data.dir={phantom_data}"
    fine = f"--config={CONFIGS / 'finetune_classification.py'}:data=phantom,tiny"
    return [
        ["data", "build", "phantom", f"--out={tmp_path / 'built'}", *COUNTS],
        ["pretrain", f"--config={CONFIGS / 'phantom.py'}:tiny", f"--workdir={tmp_path / 'a'}", data, *TINY],
        ["finetune", fine, f"--workdir={tmp_path / 'b'}", data, *TINY],
    ]


@pytest.mark.portable
@pytest.mark.parametrize(
    ("options", "fill", "says"),
    [
        ("missing", "", "/dev/shm: not there, and worker processes need it; "),
        ("ro", "", "/dev/shm: Read-only file system, and worker processes need it; "),
        ("size=64k", "full", "/dev/shm: 0.00 MB of 0.07 MB are free, too little for worker processes; "),
    ],
)
def test_dev_shm_is_named_with_what_to_do_without_it(options, fill, says, verbs):
    build, *trainings = odd(options, verbs, fill=fill)
    assert build[0] == 2 and build[1].splitlines()[-1].startswith(f"medslip: {says}use --workers=1, or ")
    for code, said in trainings:
        (line,) = [line for line in said.splitlines() if line.startswith("medslip: ")]
        assert code == 2 and line.startswith(f"medslip: {says}use threads in place of data workers"), said
        assert "(--config.data.workers=0 --config.data.threads=N), or " in line


def test_a_containers_64_mb_are_compared_with_the_batches_before_training(verbs):
    pretrain = [*verbs[1], "--config.data.batch_size=64", "--config.data.workers=8", "--config.data.image_size=224"]
    # 8 workers with 4 batches each, and one batch in hand, of 64 x (224 x 224 + 51 x 75) bytes.
    need = (33 * 64 * (224 * 224 + 51 * 75) + 8 * 32 * 4096) / 1e6
    ((code, said),) = odd("size=64m", [pretrain])
    assert code == 2 and f"/dev/shm: 67 MB of 67 MB are free and the worker processes need {need:.0f} MB; use" in said
    assert said.rstrip().endswith("or give the container more (docker run --shm-size=1g)")


def read_and_log(built: str, workdir: str) -> tuple[int, str]:
    """What a run with threads does, but for the steps; nothing of it may need /dev/shm."""
    assert own_shared_memory("missing")
    from data_pipelines.datasets import open_split
    from data_pipelines.loading.loader import Loader
    from medslip_jax.cli import main
    from medslip_jax.training.writers import Writers

    code = main.main(["data", "build", "phantom", f"--out={built}", *COUNTS, "--workers=1"])
    loader = Loader(open_split(built, "phantom", "train"), batch_size=2, image_size=32, train=True, threads=2)
    with contextlib.redirect_stderr(io.StringIO()) as said:
        writers = Writers(workdir, num_steps=1)
        writers.write(1, {"loss": float(next(loader)["image"].shape[0])})
        writers.close()
    loader.close()
    return code, said.getvalue()


@pytest.mark.portable
def test_without_workers_it_is_not_needed(tmp_path):
    require_own_shared_memory()
    built, workdir = tmp_path / "built", tmp_path / "run"
    ((code, said),) = together(read_and_log, [(str(built), str(workdir))], devices=1)
    assert code == 0 and (workdir / "metrics.jsonl").read_text() == '{"step": 1, "loss": 2.0}\n'
    assert said.startswith("note: no TensorBoard files, which need /dev/shm (No such file or directory); ")
