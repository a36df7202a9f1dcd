"""`medslip bench device`: its parts at a tiny size, and what it does with parts that fail or do not fit."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medslip_jax.benchmarks import device, device_parts, device_worker
from medslip_jax.benchmarks.device_parts import utilisation
from medslip_jax.benchmarks.device_sizes import SIZES, Part, jax_parts
from medslip_jax.benchmarks.device_table import device_table
from medslip_jax.benchmarks.timing import in_a_row
from medslip_jax.cli import main

MACHINE = {"jax": "0.10.2", "torch": None}


@pytest.mark.slow
def test_the_command_at_a_tiny_size(tmp_path):
    """In processes of its own, as people run it: what it says is there, is there."""
    command = [sys.executable, "-m", "medslip_jax.cli.main", "bench", "device", "--size=tiny", "--seconds=280"]
    done = subprocess.run([*command, "--out=found.json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["found.json"]
    found = json.loads((tmp_path / "found.json").read_text())
    rows = {row["part"]: row for row in found["jax"]["rows"]}
    assert list(rows) == [part.name for part in jax_parts(SIZES["tiny"], platform="cpu")]
    assert rows.pop("golden parity, fp32")["why"] == "it is of the paper's model"
    for name, row in rows.items():
        assert row["status"] == "ok" and row["images_per_second"] > 0, name
        assert f"| {name} | {row['images_per_second']:,.0f} |" in done.stdout
    step = rows["step, fp32, batch 2"]
    assert step["seconds_lowest"] <= step["seconds_median"] and step["flops"] > 0 and step["mfu"] == "unknown"
    assert step["memory_bytes"] > 1e6 and step["compile_seconds"] > 0
    assert found["jax"]["device"]["platform"] == "cpu" and "JAX computes on cpu" in done.stdout
    assert found["seconds"] < 280


class Parts:
    """In place of JAX's, with times that a test chooses."""

    def __init__(self, *_):
        self.parts = [Part("step", "bf16", n) for n in (4, 2, 8)]

    def described(self):
        return {"platform": "cpu", "device_kind": "test"}

    def measure(self, part):
        if part.batch == 2:
            raise RuntimeError("RESOURCE_EXHAUSTED:\n out of memory")
        return part.row("ok", images_per_second=1.0)


class Sent(list):
    send = list.append


@pytest.fixture
def sent(monkeypatch):
    """What the process would send."""
    monkeypatch.setattr(device_worker, "begin_worker", lambda: None)
    return Sent()


def test_a_part_that_fails_is_a_row_and_the_next_follows(sent, monkeypatch):
    monkeypatch.setattr(device_worker, "_parts_of", Parts)
    device_worker.work(sent, "jax", "tiny", time.time() + 60, "alone")
    assert [row["status"] for row in sent[1:]] == ["ok", "failed", "ok"]
    assert sent[2]["why"] == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"


def test_a_part_that_does_not_fit_is_left_out():
    parts = Parts()
    row = device_worker._row(parts, parts.parts[0], left=5.0, took={"step": 9.0})
    assert row["status"] == "left out" and row["why"] == "5 s were left, and the last step took 9 s"
    assert device_worker._row(parts, parts.parts[0], left=5.0, took={"inference": 9.0})["status"] == "ok"


def test_a_device_that_does_not_start_says_why(sent, monkeypatch):
    def broken(*_):
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr(device_worker, "_parts_of", broken)
    device_worker.work(sent, "jax", "tiny", time.time() + 60, "alone")
    assert sent == [{"described": {"platform": "none", "why": broken_message()}, "parts": [], "ends": sent[0]["ends"]}]


def broken_message() -> str:
    return "Unable to initialize backend 'cuda'"


def test_a_gpu_is_shared_with_the_library_that_follows(sent, monkeypatch):
    monkeypatch.setattr(Parts, "described", lambda _: {"platform": "gpu"})
    monkeypatch.setattr(device_worker, "_parts_of", Parts)
    now = time.time()
    device_worker.work(sent, "jax", "tiny", now + 100, "shared")
    assert 60 <= sent[0]["ends"] - now < 65


# What follows is done by another process, which knows nothing of a monkeypatch here.
def hanging(to_parent, *_):
    to_parent.send({"described": {"platform": "cpu"}, "parts": Parts().parts, "ends": time.time() + 2})
    to_parent.send(Parts().parts[0].row("ok", images_per_second=1.0))
    time.sleep(600)


def dying(to_parent, *_):
    to_parent.send({"described": {"platform": "cpu"}, "parts": Parts().parts, "ends": time.time() + 60})
    os._exit(7)


def test_a_process_that_overruns_is_ended(monkeypatch):
    monkeypatch.setattr(device, "work", hanging)
    told = []
    found = device.bench_device(seconds=60, size="tiny", tell=told.append)
    assert [row["status"] for row in found["jax"]["rows"]] == ["ok", "left out", "left out"]
    assert found["jax"]["rows"][1]["why"] == "not done when the time was up"
    assert told == ["jax: step, bf16, batch 4: ok"] and found["seconds"] < 55


def test_a_process_that_dies_is_named(monkeypatch):
    monkeypatch.setattr(device, "work", dying)
    rows = device.bench_device(seconds=60, size="tiny")["jax"]["rows"]
    assert {row["why"] for row in rows} == {"the process ended with exit code 7"} and len(rows) == 3


@pytest.mark.parametrize(("platform", "precision"), [("gpu", "bf16"), ("tpu", "bf16"), ("cpu", "fp32")])
def test_what_matters_most_comes_first(platform, precision):
    size = SIZES["paper"]
    parts = jax_parts(size, platform=platform)
    assert parts[0].kind == "golden parity" and parts[1].precision == precision
    assert {part.batch for part in parts[1:5]} == {size.batches_on(platform)[0]} and parts[5].kind == "loader to device"
    assert len(set(parts)) == len(parts) == 2 + 3 * 2 * 2


def test_the_shares_of_a_peak(monkeypatch):
    class Program:
        def cost_analysis(self):
            return {"flops": 3e12}

        def as_text(self):
            return "ENTRY %main {\n  ROOT %a = f32[] constant(0)\n}\n"

    assert utilisation(Program(), seconds=0.1, device_kind="NVIDIA A100") == {"flops": 3e12, "mfu": 3e13 / 312e12}
    assert utilisation(Program(), seconds=0.1, device_kind="cpu")["mfu"] == "unknown"
    monkeypatch.setattr(Program, "cost_analysis", lambda _: None)
    assert utilisation(Program(), seconds=0.1, device_kind="NVIDIA A100") == {"flops": "unknown", "mfu": "unknown"}


def test_memory_of_a_device_that_counts():
    class Device:
        def memory_stats(self):
            return {"peak_bytes_in_use": 5, "bytes_limit": 9, "num_allocs": 1}

    assert device_parts.memory_in_use(Device()) == {"peak_bytes": 5, "limit_bytes": 9}


def test_calls_in_a_row_wait_once_a_loop():
    done, waited = [], []
    times = in_a_row(lambda: done.append(0) or len(done), wait=waited.append, seconds=0.0)
    # Warming up, finding out how many, and three loops, of two calls each.
    assert len(done) == 10 and waited == [2, 4, 6, 8, 10] and times["calls"] == 6


def test_the_table():
    times = {"seconds_median": 0.02, "seconds_lowest": 0.01, "seconds_highest": 0.03}
    step = {**times, "images_per_second": 3200.0, "mfu": 0.31, "memory_bytes": 8.1e9, "compile_seconds": 30.0}
    part, errors = Part("step", "bf16", 64), {"losses": 1e-6, "outputs": "not finite"}
    rows = [
        part.row("ok", **step, peak_bytes=9e9, limit_bytes=20e9),
        Part("step", "fp32", 256).row("failed", why="RESOURCE_EXHAUSTED"),
        Part("golden parity", "fp32").row("ok", passed=True, errors=errors, limits={"losses": 1e-5, "outputs": 2e-5}),
    ]
    jax = {"device": {"platform": "gpu", "device_kind": "NVIDIA A100"}, "rows": rows}
    beside = part.row("ok", images_per_second=2500.0, form="not compiled", why="torch.compile failed: no Triton")
    result = {"jax": jax, "pytorch": {"device": {}, "rows": [beside]}, "size": "paper", "image_size": 224}
    text = device_table(result | {"seconds": 90.0, "seconds_allowed": 300, "machine": MACHINE})
    assert text.splitlines() == [
        "One NVIDIA A100, the paper's model, 224 px; jax 0.10.2; 90 of 300 s:",
        "",
        "| what | images/s | PyTorch | |",
        "|---|---|---|---|",
        "| golden parity, fp32 | pass |  | losses 1.0e-06 of at most 1e-05, outputs not finite of at most 2e-05 |",
        "| step, bf16, batch 64 | 3,200 | 2,500 | 20.0 ms (10.0 to 30.0), MFU 31.0%, 8.10 GB, compiled in 30 s, "
        "PyTorch not compiled: torch.compile failed: no Triton |",
        "| step, fp32, batch 256 | failed |  | RESOURCE_EXHAUSTED |",
        "| memory |  |  | at most 9.0 of 20.0 GB in use, by the device's count |",
    ]  # fmt: skip


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("failed", 1), ("left out", 0)])
def test_the_exit_code_is_of_the_golden_numbers(monkeypatch, tmp_path, capsys, status, code):
    rows = [Part("golden parity", "fp32").row(status, why="test")]
    result = {"jax": {"device": {"device_kind": "x"}, "rows": rows}, "pytorch": {"device": {"why": "w"}, "rows": []}}
    result |= {"size": "paper", "image_size": 224, "seconds": 1.0, "seconds_allowed": 5, "machine": MACHINE}
    monkeypatch.setattr(device, "bench_device", lambda **_: result)
    assert main.main(["bench", "device", f"--out={tmp_path / 'a.json'}"]) == code
    assert json.loads((tmp_path / "a.json").read_text()) == result
    assert "| PyTorch |  |  | left out: w |" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_said_before_anything_runs(capsys):
    assert main.main(["bench", "device", f"--out={Path('nowhere') / 'a.json'}"]) == 2
    assert "--out nowhere/a.json" in capsys.readouterr().err
