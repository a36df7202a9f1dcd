"""Runs and converted checkpoints are read, and evaluate, as the run itself."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT
from pretrained_models import assert_same, make_pretrained
from tiny_weights import CONFIGS, files_below, state_of
from trainers import tables_of, trainer_of

from medslip_jax import experiment
from medslip_jax.checkpoints import Checkpoints, find_checkpoint, read_config
from medslip_jax.cli import main
from medslip_jax.experiment import read, tree_of
from medslip_jax.experiment.sections import OptimConfig
from medslip_jax.models import MeDSLIP
from medslip_jax.models.kinds import KINDS, kind_of
from medslip_jax.step.train_step import TrainState, eval_step, eval_variables
from medslip_jax.testing import synthetic_batch
from medslip_jax.text.books import books_hash
from medslip_jax.weights.loading import Pretrained
from medslip_jax.weights.saving import save_orbax
from medslip_jax.weights.torch.conversion import from_torch


@pytest.fixture(scope="module")
def runs(phantom_data, tmp_path_factory) -> dict[str, dict]:
    """Two runs as training leaves them, with and without averages: their directory, config and last state."""
    return {
        name: _write_run(phantom_data, tmp_path_factory.mktemp(name), ema=name == "ema") for name in ("ema", "plain")
    }


def _write_run(data: Path, workdir: Path, *, ema: bool) -> dict:
    config = experiment.load_config([f"--config={ROOT / 'configs' / 'phantom.py'}:tiny"])
    config.data.dir, config.data.image_size = str(data), 32
    config.model.trunk_width, config.model.embed_dim, config.model.decoder_ffn_dim = 8, 16, 32
    config.model.decoder_layers = 1
    config.optim.ema_decay = 0.9 if ema else 0.0
    config.books.sha256 = books_hash(tables_of(config))
    trainer = trainer_of(config, num_images=24)
    variables = jax.tree.map(jnp.asarray, from_torch(state_of(trainer.model), trainer.model))
    state = TrainState(
        step=jnp.int32(3),
        **variables,
        opt_state=trainer.optimizer.init(variables["params"]),
        ema=jax.tree.map(lambda x: x * 0.75, variables) if ema else None,
    )
    checkpoints = Checkpoints(workdir)
    checkpoints.save(state, step=3, loader_state={"batch": 3}, config=tree_of(read(config)))
    checkpoints.wait()
    checkpoints.close()
    return {"workdir": workdir, "config": config, "trainer": trainer, "state": state}


@pytest.mark.parametrize("name", ["ema", "plain"])
def test_a_run_is_read_as_evaluation_reads_it(runs, name, tmp_path):
    run = runs[name]
    got = MeDSLIP.from_pretrained(run["workdir"])
    assert_same(got.variables, eval_variables(run["state"]))
    assert got.config == run["trainer"].model
    assert json.dumps(got.info["experiment"], sort_keys=True) == json.dumps(run["config"].to_dict(), sort_keys=True)
    assert got.info["num_batches_tracked"] == 3
    assert got.info["preprocessing"]["image_size"] == 32
    # The tables as the run used them: centred.
    assert np.array_equal(got.inputs[0], run["trainer"].books.pathology)
    assert np.array_equal(got.inputs[1], run["trainer"].books.anatomy)
    got.save_pretrained(tmp_path / "model", license="mit")
    again = MeDSLIP.from_pretrained(tmp_path / "model")
    assert_same(again.variables, eval_variables(run["state"]))
    assert np.array_equal(again.inputs[0], run["trainer"].books.pathology)
    assert "`phantom`" in (tmp_path / "model" / "README.md").read_text()


def test_calling_it_gives_the_probabilities_of_evaluation(runs):
    run = runs["ema"]
    batch = synthetic_batch(3, image_size=32)
    want = jax.jit(lambda v, b: eval_step(run["trainer"], v, b))(eval_variables(run["state"]), batch)
    got = MeDSLIP.from_pretrained(run["workdir"])(batch["image"])
    for stream in ("pathology", "anatomy"):
        probability = jax.nn.softmax(got[stream]["logits"])[..., 1]
        np.testing.assert_allclose(probability, want[stream]["probability"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(got[stream]["attention"].mean(1), want[stream]["attention"], rtol=0, atol=1e-6)
    assert np.std(want["pathology"]["probability"]) > 1e-3


@pytest.mark.parametrize("name", CONFIGS)
def test_orbax_round_trip(name, tmp_path):
    saved = make_pretrained(name, num_batches_tracked=7, books={"tables": "centred"}, license="mit")
    save_orbax(saved, tmp_path / "model")
    got = KINDS[kind_of(saved.config)][1].from_pretrained(tmp_path / "model")
    assert got.config == saved.config
    assert_same(got.variables, saved.variables)
    assert got.info["num_batches_tracked"] == 7
    assert got.info["license"] == "mit"
    if kind_of(saved.config) == "medslip":
        assert np.array_equal(got.inputs[0], saved.inputs[0]) and np.array_equal(got.inputs[1], saved.inputs[1])
        # What evaluation and training take them for.
        assert np.array_equal(tables_of(read_config(tmp_path / "model")).pathology, saved.inputs[0])


@pytest.fixture(scope="module")
def evaluated(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    assert main.main(evaluate_argv(runs["ema"]["workdir"], out)) == 0
    return out


def evaluate_argv(checkpoint: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate", f"--checkpoint={checkpoint}", f"--out={out}", "--resamples=5", "--pictures=0", *more]


def results(out: Path) -> dict:
    metrics = json.loads((out / "metrics.json").read_text())
    metrics["sha256"].pop("metrics")  # the checkpoint's path is in it
    with np.load(out / "predictions.npz") as file:
        return {"metrics": metrics, "predictions": dict(file)}


def test_a_converted_run_evaluates_alike_even_when_moved(runs, evaluated, tmp_path):
    save_orbax(MeDSLIP.from_pretrained(runs["ema"]["workdir"]), tmp_path / "converted")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "converted").rename(tmp_path / "elsewhere" / "model of mine")
    assert read_config(find_checkpoint(moved))["books"]["path"] == str(moved / "books.npz")
    assert main.main(evaluate_argv(moved, tmp_path / "out")) == 0
    got, want = results(tmp_path / "out"), results(evaluated)
    assert got["metrics"].pop("checkpoint") != want["metrics"].pop("checkpoint")
    assert got["metrics"] == want["metrics"]
    assert got["predictions"].keys() == want["predictions"].keys()
    for key, array in want["predictions"].items():
        # NaN where a pair is never mentioned; text knows none.
        assert np.array_equal(got["predictions"][key], array, equal_nan=array.dtype.kind == "f"), key
    assert np.std(want["predictions"]["pathology"]) > 1e-3


def test_a_model_without_tables_is_not_evaluated(runs, phantom_data, tmp_path, capsys):
    pretrained = MeDSLIP.from_pretrained(runs["ema"]["workdir"])
    nameless = Pretrained(pretrained.config, pretrained.variables, None, {"num_batches_tracked": 0})
    save_orbax(nameless, tmp_path / "model")
    data = [f"--data_dir={phantom_data}", "--data=phantom", "--batch_size=8"]
    assert main.main(evaluate_argv(tmp_path / "model", tmp_path / "out", *data)) == 2
    assert one_line(capsys) == (
        "medslip: this model came without text tables; give those that it was trained with (--books FILE)"
    )
    assert list((tmp_path / "out").glob("*")) == []


def one_line(capsys) -> str:
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("medslip")]
    assert len(lines) == 1 and "Traceback" not in text
    return lines[0]


def test_a_classifier_is_not_evaluated_zero_shot(tmp_path, capsys):
    save_orbax(make_pretrained("classifier"), tmp_path / "model")
    assert main.main(evaluate_argv(tmp_path / "model", tmp_path / "out")) == 2
    assert one_line(capsys) == (
        f"medslip: {tmp_path}/model: holds a classifier; zero-shot evaluation takes pre-training models"
    )
    assert not (tmp_path / "out").exists()


def test_a_published_model_is_evaluated_like_the_run_that_it_comes_from(runs, evaluated, phantom_data, tmp_path):
    """The experiment travels with it, but for the paths of the machine that it ran on."""
    pretrained = MeDSLIP.from_pretrained(runs["ema"]["workdir"])
    pretrained.save_pretrained(tmp_path / "model", license="mit")
    assert main.main(evaluate_argv(tmp_path / "model", tmp_path / "out", f"--data_dir={phantom_data}")) == 0
    got, want = results(tmp_path / "out"), results(evaluated)
    assert got["metrics"].pop("checkpoint") != want["metrics"].pop("checkpoint")
    assert got["metrics"] == want["metrics"]


def test_a_model_that_nobody_trained_here_needs_the_data_named(tmp_path, capsys):
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="mit")
    assert main.main(evaluate_argv(tmp_path / "model", tmp_path / "out")) == 2
    assert "--data NAME of evaluate" in one_line(capsys)


def test_optimiser_state_stays_behind(runs, tmp_path):
    save_orbax(MeDSLIP.from_pretrained(runs["ema"]["workdir"]), tmp_path / "model")
    parts = {path.split("/")[0] for path in files_below(tmp_path / "model")}
    assert {"model", "config", "info", "books.npz"} <= parts
    assert not parts & {"optimizer", "loader"}


def test_default_optimiser_is_not_taken_for_the_runs(tmp_path):
    """A converted state_dict has an experiment around it that nobody ran; the description must not claim it."""
    save_orbax(make_pretrained("medslip"), tmp_path / "model")
    got = MeDSLIP.from_pretrained(tmp_path / "model")
    assert got.info["experiment"] is None
    assert read_config(tmp_path / "model")["optim"]["learning_rate"] == OptimConfig().learning_rate
