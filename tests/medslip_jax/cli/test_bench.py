import contextlib
import functools
import json

import pytest

from medslip_jax.benchmarks import curves, step
from medslip_jax.benchmarks.loader import bench_workers
from medslip_jax.cli import main
from medslip_jax.cli.bench import lines
from medslip_jax.testing import tiny_config


def test_loader_on_built_data(phantom_data, capsys):
    command = ["bench", "loader", "--data=phantom", f"--data_dir={phantom_data}", "--image_size=32"]
    command += ["--batches=1", "--workers=1", "--json"]
    assert main.main(command) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < result["lowest"] <= result["images_per_second_per_core"] <= result["highest"]
    assert set(result["stages_us"]) == {"read record", "decode JPEG", "random resized crop", "flip and RandAugment"}
    assert result["workers"]["count"] == 1
    assert 10 < result["workers"]["memory_mb"] < 4000


def test_loader_by_workers():
    rates = bench_workers((1, 2), image_size=32, batches=1)
    assert list(rates) == [1, 2] and all(rate > 0 for rate in rates.values())


def test_curves_have_points_and_a_line(monkeypatch, capsys):
    """With steps that take no time: what they cost is for the benchmark itself."""
    monkeypatch.setattr(curves, "jax_step", lambda _, batch, **__: {"run": int, "peak": 1e9 * len(batch["image"])})
    monkeypatch.setattr(curves, "other_process", lambda *_: contextlib.nullcontext(int))
    monkeypatch.setattr(curves, "bench_workers", lambda counts: {n: 10.0 * n for n in counts})
    assert main.main(["bench", "curves", "--rounds=1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["memory_gb"]["peak"] == {"2": 2, "4": 4, "8": 8, "16": 16}
    assert result["memory_gb"]["slope"] == pytest.approx(1) and result["workers"]["slope"] == pytest.approx(10)
    assert list(result["devices"]["seconds"]) == ["1", "2", "4", "8"] and len(result["image_size"]["seconds"]) == 5


def test_radgraph(monkeypatch, capsys):
    monkeypatch.setattr(
        "medslip_jax.benchmarks.radgraph.bench_radgraph", lambda **_: {"studies_per_minute": 7, "runs": [7]}
    )
    assert main.main(["bench", "radgraph", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["studies_per_minute"] == 7


def test_plain_lines():
    assert lines({"rate": 1234.56, "part": {"name": "x"}}) == ["rate: 1,234.6", "part", "  name: x"]


def test_data_that_is_not_built(tmp_path, capsys):
    assert main.main(["bench", "loader", "--data=phantom", f"--data_dir={tmp_path}"]) == 2
    assert "no built data set" in capsys.readouterr().err


def test_unknown_benchmark(capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(["bench", "luck"])
    assert stop.value.code == 2


@pytest.fixture
def small_model(monkeypatch):
    """In place of the paper's, which PyTorch still computes, on small images."""
    monkeypatch.setattr(step, "MeDSLIPConfig", functools.partial(tiny_config, text_dim=768))


@pytest.mark.usefixtures("small_model")
def test_step_of_a_small_model(capsys, tmp_path):
    command = ["bench", "step", "--batch=2", "--image_size=32", "--rounds=1", f"--trace={tmp_path}", "--json"]
    assert main.main(command) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < result["step_seconds_lowest"] <= result["step_seconds_median"] <= result["step_seconds_highest"]
    assert result["batch"] == 2 and result["precision"] == "fp32" and result["cores"] >= 1
    for name, times in result["pytorch"].items():
        assert result["times_as_fast"][name] == times["seconds_median"] / result["step_seconds_median"]
    parts = result["trace"]["parts"]
    assert {"trunk/layer1", "decoder_pathology", "decoder_anatomy"} <= set(parts)
    assert parts["trunk/layer1"]["backward"] > 0 and result["trace"]["kinds"]["products"] > 0


@pytest.mark.usefixtures("small_model")
def test_eval_of_a_small_model(capsys):
    assert main.main(["bench", "eval", "--batch=2", "--image_size=32", "--rounds=1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["images_per_second"] == 2 / result["seconds_median"] > 0


def test_only_a_step_is_traced(capsys, tmp_path):
    assert main.main(["bench", "loader", f"--trace={tmp_path}"]) == 2
    assert "medslip bench step" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main.main(["bench", "step", f"--trace={tmp_path / 'file'}"]) == 2
    assert f"--trace {tmp_path / 'file'}: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--batch=0", "--rounds=0", "--image_size=100"])
def test_numbers_that_cannot_be(flag, capsys):
    assert main.main(["bench", "step", flag]) == 2
    assert flag.split("=")[0] in capsys.readouterr().err
