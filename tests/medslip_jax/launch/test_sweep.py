"""`medslip sweep`: what it runs, keeps and says. Training and judging are stood in for by files of their form."""

import json
import signal
import subprocess
import sys

import pytest
from places import CONFIGS

from medslip_jax.cli import main
from medslip_jax.errors import InputError
from medslip_jax.experiment import differences, load_config
from medslip_jax.launch import sweep
from medslip_jax.report.tables.sweep import sweep_row, sweep_table
from medslip_jax.storage.files import tree_hash

ABLATIONS = CONFIGS / "ablations.py"


def results(auroc: float, *, anatomy: float | None = None, sha: str = "") -> dict:
    def section(value: float) -> dict:
        interval = {"low": value - 0.01, "high": value + 0.01}
        return {"report": {"macro": {"auroc": value}, "classes": {"mass": {}}}, "intervals": {"macro": interval}}

    sections = {"pathology": section(auroc)} | ({"anatomy": section(anatomy)} if anatomy else {})
    return {"classification": sections, "checkpoint": {"sha256": sha}}


def test_variants_of_a_file_come_in_its_order_with_their_argument(tmp_path):
    found = sweep.variants(f"{ABLATIONS}:tiny", workdir=tmp_path)
    assert found[0].name == "base" and found[0].changes == {}
    single = next(v for v in found if v.name == "single_stream")
    assert single.config == f"{ABLATIONS}:variant=single_stream,tiny"
    assert single.directory == tmp_path / "single_stream"


def test_every_variant_is_a_config_that_differs_as_said(tmp_path):
    base = load_config([f"--config={ABLATIONS}"])
    for variant in sweep.variants(str(ABLATIONS), workdir=tmp_path):
        lines = differences(base, load_config([f"--config={variant.config}"]))
        assert {line.split(":")[0] for line in lines} == set(variant.changes)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config", "no_such.py"], "no_such.py: no such file"),
        (["--config", str(ABLATIONS.with_name("phantom.py"))], "has no VARIANTS"),
        (["--config", str(ABLATIONS), "--only", "bass"], "no variant 'bass'"),
        (["--config", str(ABLATIONS), "--resamples", "0"], "--resamples 0: must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_code_2(argv, message, tmp_path, capsys):
    assert main.main(["sweep", *argv, "--workdir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_variant_that_fails_is_named_and_the_others_run(tmp_path, monkeypatch, capsys):
    asked = []

    def ended(command):
        asked.append(command)
        return 2 if "variant=seed_1" in " ".join(command) else 0

    monkeypatch.setattr(sweep, "_ended", ended)
    argv = ["sweep", "--config", str(ABLATIONS), "--workdir", str(tmp_path), "--only", "base,seed_1,seed_2"]
    assert main.main([*argv, "--config.data.dir=d"]) == 1
    verbs = [(command[0], command[-1]) for command in asked]
    assert [verb for verb, _ in verbs] == ["pretrain", "evaluate", "pretrain", "pretrain", "evaluate"]
    assert all(last == "--config.data.dir=d" for verb, last in verbs if verb == "pretrain")
    printed = capsys.readouterr().out
    assert "failed: seed_1" in printed and "no variant has results yet" in printed


def test_what_an_earlier_version_finished_is_kept(tmp_path, monkeypatch, capsys):
    """Its config lacks a key that has come since, and its data's size is what the run found."""
    base = sweep.variants(str(ABLATIONS), workdir=tmp_path)[0]
    saved = load_config([f"--config={base.config}"])
    with saved.unlocked():
        del saved.keep_every_hours
    saved.data.train_images = 100
    checkpoint = base.directory / "checkpoints" / "8"
    for name, text in {"config/metadata": saved.to_json(), "model/array": "weights"}.items():
        (checkpoint / name).parent.mkdir(parents=True)
        (checkpoint / name).write_text(text)
    judged = base.directory / sweep.RESULTS / "metrics.json"
    judged.parent.mkdir()
    judged.write_text(json.dumps(results(0.9, sha=tree_hash(checkpoint / "model"))))
    monkeypatch.setattr(sweep, "_ended", lambda command: pytest.fail(f"run again: {command}"))
    assert sweep.run(base, overrides=[], resamples=10)
    assert "base: done before, kept" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"holds a run of other settings \(seed: 0 -> 1\)"):
        sweep.run(base, overrides=["--config.seed=1"], resamples=10)


def test_an_interrupt_of_a_part_ends_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "_ended", lambda command: 130)
    assert main.main(["sweep", "--config", str(ABLATIONS), "--workdir", str(tmp_path)]) == 130


def test_sigterm_goes_on_to_the_part_that_runs(tmp_path):
    """Two real processes: the sweep, and a part that says which signal ended it."""
    part = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); print('up', flush=True)"
    part += "; [time.sleep(0.05) for _ in range(12000)]"  # a signal just before a sleep is handled after it
    program = f"from medslip_jax.launch import sweep; sweep._COMMAND = ({sys.executable!r}, '-c')"
    program += f"; print(sweep._ended([{part!r}]))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=300)[0] == "75\n"


def test_the_table_sets_each_variant_beside_the_first(tmp_path, monkeypatch):
    macro = {"auroc": {"difference": 0.02, "low": 0.01, "high": 0.03, "p": 0.004}}
    monkeypatch.setattr(sweep, "compare", lambda a, b, resamples: {"macro": macro})
    for name, value in (("base", 0.90), ("single_stream", 0.92)):
        file = tmp_path / name / "zero_shot" / "metrics.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(results(value, anatomy=0.8 if name == "base" else None)))
    text = sweep.write_table(sweep.variants(str(ABLATIONS), workdir=tmp_path), workdir=tmp_path, resamples=10)
    base, single = text.splitlines()[1:3]
    assert base.split()[:4] == ["base", "0.900", "[0.890,", "0.910]"] and "0.800" in base
    assert "+0.020 [+0.010, +0.030]" in single and "0.004" in single and "model.streams=pathology" in single
    assert "no results yet: seed_1, seed_2" in text
    assert (tmp_path / "table.txt").read_text() == f"{text}\n"
    assert set(json.loads((tmp_path / "sweep.json").read_text())) == {"base", "single_stream"}


def test_a_damaged_result_is_named(tmp_path):
    file = tmp_path / "zero_shot" / "metrics.json"
    file.parent.mkdir()
    file.write_text("{")
    with pytest.raises(InputError, match=r"metrics\.json: damaged"):
        sweep.results_of(tmp_path)


def test_a_row_without_comparison_has_no_difference():
    row = sweep_row({}, results(0.9), comparison=None)
    assert row["difference"] is None and row["anatomy"] is None and row["pointing"] is None
    assert "0.900 [0.890, 0.910]" in sweep_table({"base": row})


def test_a_difference_of_too_few_patients_has_no_p():
    macro = {"auroc": {"difference": 0.02, "low": None, "high": None, "p": None}}
    row = sweep_row({}, results(0.9), comparison={"macro": macro})
    assert sweep_table({"one": row}).splitlines()[1].split() == ["one", "0.900", "[0.890,", "0.910]", "+0.020", *"----"]
