"""The same build on Apache Beam: the same bytes, the same one-line errors, and it goes on where it stopped."""

import json
import sys
from pathlib import Path

import folder_csv
import pytest

from data_pipelines.datasets.building import beam, parts
from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.phantom import PhantomOptions
from medslip_jax.cli import main
from medslip_jax.errors import InputError

PHANTOM = ["phantom", "--train=9", "--validation=2", "--test=3", "--size=64"]
OPTIONS = PhantomOptions(train=9, validation=2, test=3, size=64)
DIRECT = ["--beam_runner=DirectRunner"]
TWO_PROCESSES = [
    *DIRECT,
    "--beam_option=--direct_num_workers=2",
    "--beam_option=--direct_running_mode=multi_processing",
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(parts, "PART_JOBS", 4)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def folder(root: Path, *flags: str) -> list[str]:
    """Nine images, of which row 5 has none."""
    root.mkdir()
    folder_csv.write(root, [{"file": f"{i}.png"} for i in range(9)])
    (root / "3.png").write_bytes(b"no image")
    (root / "options.json").write_text(json.dumps(folder_csv.OPTIONS))
    return ["folder", f"--root={root}", f"--options={root / 'options.json'}", *flags]


def run(flags: list[str], out: Path) -> int:
    return main.main(["data", "build", *flags, f"--out={out}"])


@pytest.mark.beam
@pytest.mark.parametrize("runner", [DIRECT, TWO_PROCESSES], ids=["one process", "two processes"])
@pytest.mark.parametrize("name", ["phantom", "folder"])
def test_bytes_are_those_without_beam(tmp_path, name, runner):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra [beam])")
    flags = PHANTOM if name == "phantom" else folder(tmp_path / "files", "--policy=skip")
    assert run([*flags, "--workers=1"], tmp_path / "without") == 0
    assert run([*flags, *runner], tmp_path / "beam") == 0
    assert contents(tmp_path / "beam") == contents(tmp_path / "without")
    assert [path.name for path in (tmp_path / "beam").iterdir()] == [name]


@pytest.mark.beam
@pytest.mark.parametrize("runner", [DIRECT, TWO_PROCESSES], ids=["one process", "two processes"])
def test_failing_row_is_named_and_the_rest_is_kept(tmp_path, capsys, runner):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra [beam])")
    flags = [*folder(tmp_path / "files"), *runner]
    good = (tmp_path / "files" / "2.png").read_bytes()
    assert run(flags, tmp_path / "out") == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("medslip")]
    assert len(told) == 1 and "labels.csv: row 5: " in told[0] and "policy skip" in told[0]
    made = {path.name: path.stat().st_ino for path in (tmp_path / "out").rglob("*.msgpack")}
    assert set(made) == {"train-000001.msgpack", "train-000002.msgpack"}
    (tmp_path / "files" / "3.png").write_bytes(good)
    assert run(flags, tmp_path / "out") == 0
    assert run([*folder_flags(flags), "--workers=1"], tmp_path / "without") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "without")


def folder_flags(flags: list[str]) -> list[str]:
    return [flag for flag in flags if not flag.startswith("--beam")]


@pytest.mark.beam
def test_only_missing_parts_are_made(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra [beam])")
    with monkeypatch.context() as patch:
        patch.setattr("data_pipelines.datasets.building.build._write_records", lambda *_: pytest.fail("stopped"))
        with pytest.raises(pytest.fail.Exception):
            run([*PHANTOM, "--workers=1"], tmp_path / "out")
    left = sorted((tmp_path / "out").rglob("*.msgpack"))
    assert len(left) == 5
    left[0].unlink()
    left[4].write_bytes(left[4].read_bytes()[:-1])
    before = [path.stat().st_mtime_ns for path in left[1:4]]
    assert run([*PHANTOM, "--workers=1"], tmp_path / "without") == 0
    with monkeypatch.context() as patch:
        write_records = build.__globals__["_write_records"]

        def look(*args):
            assert [path.stat().st_mtime_ns for path in left[1:4]] == before
            return write_records(*args)

        patch.setattr("data_pipelines.datasets.building.build._write_records", look)
        assert run([*PHANTOM, *DIRECT], tmp_path / "out") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "without")


@pytest.mark.beam
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--beam_runner=Nobody"], "Unexpected pipeline runner: Nobody"),
        ([*DIRECT, "--beam_option=--direct_num_workers=x"], "argument --direct_num_workers: invalid int value: 'x'"),
    ],
)
def test_bad_flags_end_with_one_line(tmp_path, capsys, flags, message):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra [beam])")
    assert run([*PHANTOM, *flags], tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"medslip: --beam_runner, --beam_option: {message}") and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.beam
def test_workers_that_write_elsewhere_are_noticed(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra [beam])")
    monkeypatch.setattr(beam, "_write", lambda path, **_: path)
    with pytest.raises(InputError, match=r"lacks 5 parts; Beam's workers must reach the data set under that path"):
        build("phantom", out=tmp_path, options=OPTIONS, beam_options=["--runner=DirectRunner"])


def test_missing_beam_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    assert run([*PHANTOM, *DIRECT], tmp_path) == 2
    assert capsys.readouterr().err == "medslip: --beam_runner: needs Apache Beam; `pip install medslip_jax[beam]`\n"
    assert not list(tmp_path.iterdir())
