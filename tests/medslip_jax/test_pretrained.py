"""Models that travel: `save_pretrained`, `from_pretrained` of every kind, and converted checkpoints that evaluate."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick_compile import quick_compile
from tiny_weights import CONFIGS, files_below, state_of

from data_pipelines.images import read_grey
from medslip_jax import cli, experiment
from medslip_jax.bundle import describe
from medslip_jax.checkpoint import Checkpoints, find_checkpoint, read_config
from medslip_jax.errors import InputError
from medslip_jax.models import Classifier, MeDSLIP, Segmenter
from medslip_jax.models.kinds import kind_of, make_module
from medslip_jax.optim import OptimConfig
from medslip_jax.pretrain import make_trainer
from medslip_jax.pretrained import Pretrained, load
from medslip_jax.publish import save_orbax
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config
from medslip_jax.text_books import TextBooks, centred, save_books
from medslip_jax.torch_checkpoint import flatten, from_torch
from medslip_jax.train_step import TrainState, eval_step, eval_variables, normalise

CLASSES = {"medslip": MeDSLIP, "classifier": Classifier, "segmenter": Segmenter}
FILES = {"model.safetensors", "config.json", "README.md"}


@pytest.fixture(autouse=True)
def _quick():
    with quick_compile():
        yield


def make_pretrained(name: str, *, shift: float = 0, **info) -> Pretrained:
    """A model with recipe weights, all shifted by a number; `info` goes into its description."""
    config = CONFIGS[name]
    variables = jax.tree.map(lambda x: x + np.float32(shift), from_torch(state_of(config), config))
    books = tiny_books() if kind_of(config) == "medslip" else None
    return Pretrained(config, variables, books, describe(config, books=books, inherited=info))


def assert_same(got, want) -> None:
    got, want = flatten(jax.device_get(got)), flatten(jax.device_get(want))
    assert got.keys() == want.keys()
    for path, array in want.items():
        assert got[path].dtype == array.dtype and got[path].tobytes() == array.tobytes(), path


# save_pretrained, from_pretrained


@pytest.mark.parametrize("name", CONFIGS)
def test_round_trip_is_exact(name, tmp_path):
    saved = make_pretrained(name, num_batches_tracked=7)
    cls = CLASSES[kind_of(saved.config)]
    saved.save_pretrained(tmp_path / "model", license="cc-by-nc-4.0")
    medslip = kind_of(saved.config) == "medslip"
    assert set(files_below(tmp_path)) == {f"model/{file}" for file in FILES | ({"books.npz"} if medslip else set())}
    got = cls.from_pretrained(tmp_path / "model")
    assert got.config == saved.config
    assert type(got.module) is cls
    assert_same(got.variables, saved.variables)
    assert got.info["num_batches_tracked"] == 7
    assert got.info["license"] == "cc-by-nc-4.0"
    if medslip:
        for table in ("pathology", "anatomy"):
            assert getattr(got.books, table).tobytes() == getattr(saved.books, table).tobytes()
        assert got.books.provenance == saved.books.provenance
    else:
        assert got.books is None and got.inputs == ()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_module_saves_what_the_bundle_saves(name, tmp_path):
    saved = make_pretrained(name)
    saved.save_pretrained(tmp_path / "a", license="mit", metrics={"auroc": 0.75})
    make_module(saved.config).save_pretrained(
        tmp_path / "b",
        variables=saved.variables,
        license="mit",
        books=saved.books,
        info=saved.info,
        metrics={"auroc": 0.75},
    )
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


@pytest.mark.parametrize("name", CONFIGS)
def test_the_module_needs_no_description(name, tmp_path):
    saved = make_pretrained(name)
    module = make_module(saved.config)
    module.save_pretrained(tmp_path / "model", variables=saved.variables, license="mit", books=saved.books)
    got = type(module).from_pretrained(tmp_path / "model")
    assert got.config == saved.config
    assert_same(got.variables, saved.variables)


def test_equal_models_give_equal_bytes_and_no_date(tmp_path):
    for name in ("a", "b"):
        make_pretrained("medslip").save_pretrained(tmp_path / name, license="mit", metrics={"auroc": 0.75})
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    # Neither the folder it was written to nor a time.
    for file in ("config.json", "README.md"):
        text = (tmp_path / "a" / file).read_text()
        assert str(tmp_path) not in text and "202" not in text.replace("resnet", ""), file


def test_centred_tables_come_back_prepared(tmp_path):
    make_pretrained("medslip", books={"tables": "centred"}).save_pretrained(tmp_path / "model", license="mit")
    got = MeDSLIP.from_pretrained(tmp_path / "model")
    want = centred(tiny_books())
    assert np.array_equal(got.books.pathology, tiny_books().pathology)
    assert np.array_equal(got.inputs[0], want.pathology) and np.array_equal(got.inputs[1], want.anatomy)
    assert not np.allclose(want.pathology, got.books.pathology)


def test_what_the_description_alone_knows_is_kept(tmp_path):
    """A fine-tuned model comes with no experiment of ours: its classes and image size are what its maker says."""
    known = {"classes": ["a", "b", "c"], "preprocessing": {"image_size": 512}, "note": "of my own"}
    make_pretrained("classifier", **known).save_pretrained(tmp_path / "model", license="mit")
    for info in (Classifier.from_pretrained(tmp_path / "model").info, _config_json(tmp_path / "model")):
        assert info["classes"] == ["a", "b", "c"]
        assert info["note"] == "of my own"
        assert info["preprocessing"]["image_size"] == 512
        assert info["preprocessing"]["scale"] == "uint8 / 255"
    assert "- image_size: 512" in (tmp_path / "model" / "README.md").read_text()


def _config_json(directory: Path) -> dict:
    return json.loads((directory / "config.json").read_text())


def test_card_and_config_hold_licence_and_metrics(tmp_path):
    metrics = {"auroc": np.float32(0.75), "cases": np.int64(3), "dice": {"value": 0.5, "low": 0.25, "high": 0.75}}
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="cc-by-nc-4.0", metrics=metrics)
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-nc-4.0"\n')
    assert "Not for clinical use" in card
    assert "| auroc | 0.750 |\n| cases | 3 |\n| dice | 0.500 [0.250, 0.750] |" in card
    assert _config_json(tmp_path / "model")["metrics"] == {
        "auroc": 0.75,
        "cases": 3,
        "dice": {"value": 0.5, "low": 0.25, "high": 0.75},
    }


@pytest.mark.parametrize("metrics", [{"auroc": float("nan")}, {"auroc": "high"}, {"auroc": [1, 2]}])
def test_metrics_that_are_no_numbers_are_refused(metrics, tmp_path):
    with pytest.raises(InputError, match="metrics: auroc is "):
        make_pretrained("classifier").save_pretrained(tmp_path / "model", license="mit", metrics=metrics)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("license", [None, "", "  \n"])
def test_no_licence_no_file(license, tmp_path):
    pretrained = make_pretrained("medslip")
    with pytest.raises(InputError, match="license is empty: say under which licence"):
        pretrained.save_pretrained(tmp_path / "new", license=license)
    assert list(tmp_path.iterdir()) == []
    pretrained.save_pretrained(tmp_path / "old", license="mit")
    before = files_below(tmp_path)
    with pytest.raises(InputError, match="license is empty"):
        make_pretrained("medslip", shift=1).save_pretrained(tmp_path / "old", license=license)
    assert files_below(tmp_path) == before


def test_a_second_save_replaces_the_first(tmp_path):
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="mit", metrics={"auroc": 0.75})
    second = make_pretrained("classifier", shift=1)
    second.save_pretrained(tmp_path / "model", license="apache-2.0")
    # The first one's tables and metrics are gone too.
    assert set(files_below(tmp_path)) == {f"model/{file}" for file in FILES}
    assert "metrics" not in _config_json(tmp_path / "model")
    assert_same(Classifier.from_pretrained(tmp_path / "model").variables, second.variables)


def test_saving_again_what_was_read(tmp_path):
    """Licence and metrics belong to a save; the weights stay what they are."""
    make_pretrained("medslip").save_pretrained(tmp_path / "a", license="mit", metrics={"auroc": 0.75})
    MeDSLIP.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b", license="apache-2.0")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    info = _config_json(tmp_path / "b")
    assert info["license"] == "apache-2.0"
    assert "metrics" not in info
    assert "None given." in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.parametrize("name", CONFIGS)
def test_another_kind_is_refused(name, tmp_path):
    pretrained = make_pretrained(name)
    pretrained.save_pretrained(tmp_path / "model", license="mit")
    have = kind_of(pretrained.config)
    for kind, cls in CLASSES.items():
        if kind != have:
            with pytest.raises(InputError, match=f"model: holds a {have}, but a {kind} is expected here"):
                cls.from_pretrained(tmp_path / "model")


def test_a_module_cannot_save_variables_of_another(tmp_path):
    medslip = make_pretrained("medslip")
    wide = from_torch(state_of(tiny_config(embed_dim=32)), tiny_config(embed_dim=32))
    with pytest.raises(InputError, match=r"shape mismatch \(params/\S+ \(.*32.*expected .*16"):
        MeDSLIP(tiny_config()).save_pretrained(tmp_path / "m", variables=wide, license="mit", books=medslip.books)
    with pytest.raises(InputError, match=r"unexpected \(params/\S*(mask|patch|query|class|proj|decoder)"):
        Classifier(CONFIGS["classifier"]).save_pretrained(tmp_path / "m", variables=medslip.variables, license="mit")
    assert list(tmp_path.iterdir()) == []


def test_a_medslip_model_without_tables_is_not_published(tmp_path):
    config = tiny_config()
    with pytest.raises(InputError, match="without text tables"):
        MeDSLIP(config).save_pretrained(
            tmp_path / "model", variables=from_torch(state_of(config), config), license="mit"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["notes.txt", ".git", "events.out.tfevents.1"])
def test_a_directory_of_other_things_is_left_alone(name, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("do not lose me")
    for save in (lambda p, d: p.save_pretrained(d, license="mit"), save_orbax):
        with pytest.raises(InputError, match=f"holds other things than a converted model \\({name}\\)"):
            save(make_pretrained("classifier"), tmp_path / "mine")
    assert files_below(tmp_path) == {f"mine/{name}": b"do not lose me"}


def test_a_file_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("do not lose me")
    with pytest.raises(InputError, match="file: is a file"):
        make_pretrained("classifier").save_pretrained(tmp_path / "file", license="mit")
    assert (tmp_path / "file").read_text() == "do not lose me"


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no/model: cannot be written \(No such file"):
        make_pretrained("classifier").save_pretrained(tmp_path / "no" / "model", license="mit")


@pytest.mark.parametrize("part", ["model.safetensors", "books.npz"])
def test_parts_of_two_versions_are_found_out(part, tmp_path):
    make_pretrained("medslip").save_pretrained(tmp_path / "a", license="mit")
    other = make_pretrained("medslip", shift=1)
    books = TextBooks(other.books.pathology + 1, other.books.anatomy, {})
    Pretrained(other.config, other.variables, books, other.info).save_pretrained(tmp_path / "b", license="mit")
    shutil.copy(tmp_path / "b" / part, tmp_path / "a" / part)
    with pytest.raises(InputError, match=rf"{tmp_path}/a/\S+: .*(describes another|not the text tables)"):
        MeDSLIP.from_pretrained(tmp_path / "a")


def test_nan_is_not_handed_out(tmp_path):
    pretrained = make_pretrained("medslip")
    pretrained.variables["params"]["decoder_norm"]["norm"]["scale"][3] = np.nan
    pretrained.save_pretrained(tmp_path / "model", license="mit")
    with pytest.raises(InputError, match=r"1 tensors hold NaN or infinity \(params/decoder_norm/norm/scale\)"):
        MeDSLIP.from_pretrained(tmp_path / "model")


def test_tables_of_another_width_are_refused(tmp_path):
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="mit")
    save_books(tiny_books(5), path=tmp_path / "books.npz")
    with pytest.raises(InputError, match=r"books\.npz: tables 5 wide, but the model's text_dim is 12"):
        load(tmp_path / "model", books=tmp_path / "books.npz")


def test_tables_of_ones_own_take_the_place_of_the_saved(tmp_path):
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="mit")
    mine = TextBooks(tiny_books().pathology + 1, tiny_books().anatomy, {"encoder": "mine"})
    save_books(mine, path=tmp_path / "books.npz")
    got = load(tmp_path / "model", books=tmp_path / "books.npz")["pretrained"]
    assert np.array_equal(got.inputs[0], mine.pathology)
    assert got.info["books"]["encoder"] == "mine"


# Running


def test_images_are_bytes(tmp_path):
    """Floats would be scaled twice without a word."""
    pretrained = make_pretrained("classifier")
    image = synthetic_batch(2, image_size=32)["image"]
    want = jax.jit(pretrained.module.apply)(pretrained.variables, normalise(image))
    np.testing.assert_allclose(pretrained(image), want, rtol=1e-5, atol=1e-6)
    for wrong in (image / np.float32(255), image.astype(np.int32)):
        with pytest.raises(InputError, match=f"images are {wrong.dtype}, expected uint8"):
            pretrained(wrong)


@pytest.mark.real
@pytest.mark.parametrize("name", ["medslip", "disentangled"])
def test_real_xrays_give_the_same_before_and_after(name, cxr_sample, tmp_path):
    import cv2

    files = sorted((cxr_sample / "images").rglob("*.*"))[
        :: max(1, len(list((cxr_sample / "images").rglob("*.*"))) // 4)
    ]
    images = np.stack([cv2.resize(read_grey(file), (64, 64), interpolation=cv2.INTER_AREA) for file in files[:4]])
    assert images.shape == (4, 64, 64) and images.std(axis=(1, 2)).min() > 10
    saved = make_pretrained(name)
    saved.save_pretrained(tmp_path / "model", license="mit")
    before = jax.device_get(saved(images))
    after = jax.device_get(CLASSES[kind_of(saved.config)].from_pretrained(tmp_path / "model")(images))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert np.array_equal(a, b)
        assert np.isfinite(a).all() and np.std(a, axis=0).max() > 0


# Runs and converted checkpoints


@pytest.fixture(scope="module")
def runs(phantom_data, tmp_path_factory) -> dict[str, dict]:
    """Two runs as training leaves them, with and without averages: their directory, config and last state."""
    return {
        name: _write_run(phantom_data, tmp_path_factory.mktemp(name), ema=name == "ema") for name in ("ema", "plain")
    }


def _write_run(data: Path, workdir: Path, *, ema: bool) -> dict:
    config = experiment.load_config([f"--config={Path(__file__).parents[2] / 'configs' / 'phantom.py'}:tiny"])
    config.data.dir, config.data.image_size = str(data), 32
    config.model.trunk_width, config.model.embed_dim, config.model.decoder_ffn_dim = 8, 16, 32
    config.model.decoder_layers = 1
    config.optim.ema_decay = 0.9 if ema else 0.0
    config.books.sha256 = experiment.books_hash(experiment.books(config))
    trainer = make_trainer(config, num_images=24)
    variables = jax.tree.map(jnp.asarray, from_torch(state_of(trainer.model), trainer.model))
    state = TrainState(
        step=jnp.int32(3),
        **variables,
        opt_state=trainer.optimizer.init(variables["params"]),
        ema=jax.tree.map(lambda x: x * 0.75, variables) if ema else None,
    )
    checkpoints = Checkpoints(workdir)
    checkpoints.save(state, step=3, loader_state={"batch": 3}, config=config)
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
    got = CLASSES[kind_of(saved.config)].from_pretrained(tmp_path / "model")
    assert got.config == saved.config
    assert_same(got.variables, saved.variables)
    assert got.info["num_batches_tracked"] == 7
    assert got.info["license"] == "mit"
    if kind_of(saved.config) == "medslip":
        assert np.array_equal(got.inputs[0], saved.inputs[0]) and np.array_equal(got.inputs[1], saved.inputs[1])
        # What evaluation and training take them for.
        assert np.array_equal(experiment.books(read_config(tmp_path / "model")).pathology, saved.inputs[0])


@pytest.fixture(scope="module")
def evaluated(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("evaluated")
    with quick_compile():
        assert cli.main(evaluate_argv(runs["ema"]["workdir"], out)) == 0
    return out


def evaluate_argv(checkpoint: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate", f"--checkpoint={checkpoint}", f"--out={out}", "--resamples=5", "--pictures=0", *more]


def results(out: Path) -> dict:
    metrics = json.loads((out / "metrics.json").read_text())
    with np.load(out / "predictions.npz") as file:
        return {"metrics": metrics, "predictions": dict(file)}


def test_a_converted_run_evaluates_alike_even_when_moved(runs, evaluated, tmp_path):
    save_orbax(MeDSLIP.from_pretrained(runs["ema"]["workdir"]), tmp_path / "converted")
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "converted").rename(tmp_path / "elsewhere" / "model of mine")
    assert read_config(find_checkpoint(moved)).books.path == str(moved / "books.npz")
    assert cli.main(evaluate_argv(moved, tmp_path / "out")) == 0
    got, want = results(tmp_path / "out"), results(evaluated)
    assert got["metrics"].pop("checkpoint") != want["metrics"].pop("checkpoint")
    assert got["metrics"] == want["metrics"]
    assert got["predictions"].keys() == want["predictions"].keys()
    for key, array in want["predictions"].items():
        assert np.array_equal(got["predictions"][key], array), key
    assert np.std(want["predictions"]["pathology"]) > 1e-3


def test_a_model_without_tables_is_not_evaluated(runs, phantom_data, tmp_path, capsys):
    pretrained = MeDSLIP.from_pretrained(runs["ema"]["workdir"])
    nameless = Pretrained(pretrained.config, pretrained.variables, None, {"num_batches_tracked": 0})
    save_orbax(nameless, tmp_path / "model")
    data = [f"--data_dir={phantom_data}", "--data=phantom", "--batch_size=8"]
    assert cli.main(evaluate_argv(tmp_path / "model", tmp_path / "out", *data)) == 2
    assert one_line(capsys) == (
        "medslip: this model came without the text tables that it was trained with; convert it again with --books FILE"
    )
    assert list((tmp_path / "out").glob("*")) == []


def one_line(capsys) -> str:
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("medslip")]
    assert len(lines) == 1 and "Traceback" not in text
    return lines[0]


def test_a_classifier_is_not_evaluated_zero_shot(tmp_path, capsys):
    save_orbax(make_pretrained("classifier"), tmp_path / "model")
    assert cli.main(evaluate_argv(tmp_path / "model", tmp_path / "out")) == 2
    assert one_line(capsys) == (
        f"medslip: {tmp_path}/model: holds a classifier; zero-shot evaluation takes pre-training models"
    )
    assert not (tmp_path / "out").exists()


def test_a_published_directory_is_told_from_a_run(tmp_path, capsys):
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="mit")
    assert cli.main(evaluate_argv(tmp_path / "model", tmp_path / "out")) == 2
    assert "medslip convert" in one_line(capsys)


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
    assert read_config(tmp_path / "model").optim.learning_rate == OptimConfig().learning_rate
