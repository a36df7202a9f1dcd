"""A build that is stopped at any moment goes on in the next run, and ends with the bytes of an undisturbed build."""

import errno
import fcntl
import json
import random
import subprocess
import sys
from pathlib import Path

import folder_csv
import killed_builds
import pytest
from killed_builds import contents
from places import HELPERS, ROOT

from data_pipelines import images
from data_pipelines.datasets import open_split
from data_pipelines.datasets.building import parts, planned
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.phantom import PhantomOptions
from medslip_jax.cli import main
from medslip_jax.errors import InputError

OPTIONS = PhantomOptions(train=9, validation=2, test=3, size=64)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_JOBS", killed_builds.PART_JOBS)


def part_files(out: Path) -> list[Path]:
    """Those of the build in work, in order."""
    return sorted(out.glob(".*-building/*/*.msgpack"))


def flags_of(name: str, root: Path) -> list[str]:
    """A data set of some 40 records, a few of them dropped."""
    if name == "phantom":
        return ["phantom", "--train=30", "--validation=4", "--test=6", "--size=96"]
    root.mkdir()
    rows = [{"file": f"{i}.png", "split": ("train", "test")[i % 3 == 0], "patient": f"p{i}"} for i in range(40)]
    folder_csv.write(root, rows)
    (root / "7.png").unlink()
    (root / "8.png").write_bytes(b"no image")
    (root / "options.json").write_text(json.dumps(folder_csv.OPTIONS))
    return ["folder", f"--root={root}", f"--options={root / 'options.json'}", "--policy=skip"]


def moments(out: Path, chance: random.Random) -> list:
    """While parts are encoded, while records are written, around the move: when each begins, as a function."""
    some = chance.randint(1, 8)
    return [
        lambda: len(part_files(out)) >= some,
        lambda: any(out.glob(".*-building/records/*/*/.shard-*")),
        lambda: any(out.glob(".*-building/moving")) or any(out.glob("[!.]*")),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["phantom", "folder"])
def test_killed_at_three_random_moments(tmp_path, name, workers):
    chance = random.Random(f"{name} {workers}")
    flags = [*flags_of(name, tmp_path / "files"), f"--workers={workers}"]
    assert killed_builds.start([*flags, f"--out={tmp_path / 'whole'}"]).wait() == 0
    out = tmp_path / "out"
    killed = [
        killed_builds.kill(killed_builds.start([*flags, f"--out={out}"]), when=moment, delay=chance.uniform(0, longest))
        for moment, longest in zip(moments(out, chance), (0.01, 0.002, 0.001), strict=True)
    ]
    assert killed[0]  # a machine may be too fast for the others
    last = killed_builds.start([*flags, f"--out={out}"])
    _, errors = last.communicate()
    # A kill that came after all had been cleared up leaves a complete data set.
    assert last.returncode == 0 or "exists; choose another" in errors, errors
    assert contents(out) == contents(tmp_path / "whole")
    assert [path.name for path in out.iterdir()] == [name]


@pytest.mark.slow
def test_killed_at_every_change_of_the_file_system(tmp_path):
    """In a process without threads, as it forks."""
    command = [sys.executable, killed_builds.__file__, str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": f"{ROOT}:{HELPERS}"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


def test_second_build_of_the_same_target_ends_with_one_line(tmp_path, capsys, monkeypatch):
    encode_parts = "data_pipelines.datasets.building.build.encode_parts"
    flags = ["data", "build", "phantom", "--train=2", "--validation=1", "--test=1", "--size=64", f"--out={tmp_path}"]

    def meanwhile(*args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(encode_parts, lambda *_, **__: pytest.fail("the second build began"))
            assert main.main(flags) == 2
        return parts.encode_parts(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(encode_parts, meanwhile)
        assert main.main([*flags, "--workers=1"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("medslip")]
    assert told == [f"medslip: {tmp_path}/phantom: another process is building it; wait for it"]
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]


def test_a_disk_without_locks_is_not_taken_for_another_build(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = rf"^{tmp_path}/.phantom-building/lock: cannot be locked \(Function not implemented\); choose --out"
    with pytest.raises(InputError, match=message):
        build("phantom", out=tmp_path, options=OPTIONS, workers=1)


class Stopped(BaseException):
    """Ends a build as an exception that nothing catches; what it had made stays."""


def stop(out: Path, *, after: int, options: PhantomOptions = OPTIONS) -> list[Path]:
    """A build that stops when `after` parts are there, and those parts."""
    with pytest.MonkeyPatch.context() as patch:
        write = parts.write_part

        def writing(part, **kwargs):
            if len(part_files(out)) == after:
                raise Stopped
            return write(part, **kwargs)

        patch.setattr(parts, "write_part", writing)
        with pytest.raises(Stopped):
            build("phantom", out=out, options=options, workers=1)
    return part_files(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    build("phantom", out=out, options=OPTIONS, workers=1)
    return contents(out)


def test_parts_are_not_made_twice(tmp_path, whole, monkeypatch):
    assert len(stop(tmp_path, after=2)) == 2
    made = []
    write = parts.write_part
    monkeypatch.setattr(parts, "write_part", lambda part, **kw: made.append(part.path.stem) or write(part, **kw))
    build("phantom", out=tmp_path, options=OPTIONS, workers=1)
    assert made == ["train-000002", "validation-000000", "test-000000"]
    assert contents(tmp_path) == whole


def test_other_options_start_afresh(tmp_path):
    left = stop(tmp_path, after=2)
    other = PhantomOptions(train=9, validation=2, test=3, size=96)
    again = stop(tmp_path, after=1, options=other)
    assert len(again) == 1 and again[0].parent != left[0].parent and not left[0].parent.exists()
    build("phantom", out=tmp_path, options=other, workers=1)
    image = open_split(tmp_path, "phantom", "train")[0]["image"]
    assert images.decode_grey(image, name="first").shape == (96, 96)


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"", lambda data: bytes(len(data))])
def test_damaged_part_is_made_again(tmp_path, whole, damage):
    part = stop(tmp_path, after=2)[0]
    part.write_bytes(damage(part.read_bytes()))
    build("phantom", out=tmp_path, options=OPTIONS, workers=1)
    assert contents(tmp_path) == whole


def test_part_damaged_at_the_last_moment_is_named(tmp_path):
    part = parts.Part(tmp_path / "train-000000.msgpack", ())
    part.path.write_bytes(b"12345")
    with pytest.raises(InputError, match=r"train-000000.msgpack: cannot be read \(damaged\); build again"):
        list(parts.read_parts([part]))


def test_repaired_image_goes_on(tmp_path):
    root, out = tmp_path / "files", tmp_path / "out"
    root.mkdir()
    folder_csv.write(root, [{"file": f"{i}.png"} for i in range(9)])
    good = (root / "5.png").read_bytes()
    (root / "5.png").write_bytes(b"no image")
    arguments = {"root": root, "options": folder_csv.make_options(), "workers": 1}
    with pytest.raises(InputError, match=r"row 7: .*5.png.*repair it or build with policy skip"):
        build("folder", out=out, **arguments)
    before = [path.stat().st_ino for path in part_files(out)]
    assert len(before) == 1
    (root / "5.png").write_bytes(good)
    build("folder", out=out, **arguments)
    build("folder", out=tmp_path / "whole", **arguments)
    assert contents(out) == contents(tmp_path / "whole")


def test_bytes_do_not_depend_on_the_process(tmp_path):
    """TFDS's own writer orders the fields of a record differently in each."""
    flags = ["phantom", "--train=3", "--validation=1", "--test=1", "--size=64", "--workers=1"]
    running = [killed_builds.start([*flags, f"--out={tmp_path / str(number)}"]) for number in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert contents(tmp_path / "0") == contents(tmp_path / "1")


def test_large_split_is_several_files(tmp_path, monkeypatch):
    build("phantom", out=tmp_path / "one", options=OPTIONS, workers=1)
    monkeypatch.setattr(planned, "SHARD_BYTES", 12_000)
    build("phantom", out=tmp_path / "many", options=OPTIONS, workers=1)
    assert len(list((tmp_path / "many").rglob("phantom-train.array_record-*"))) > 2
    one, many = (open_split(tmp_path / name, "phantom", "train") for name in ("one", "many"))
    assert [one[i]["image"] for i in range(9)] == [many[i]["image"] for i in range(9)]
    assert "tensorflow" not in sys.modules
