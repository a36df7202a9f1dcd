"""Models that travel: `save_pretrained` and `from_pretrained` of every kind."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from pretrained_models import assert_same, make_pretrained
from tiny_weights import CONFIGS, files_below, state_of

from data_pipelines.images import read_grey
from medslip_jax import experiment
from medslip_jax.errors import InputError
from medslip_jax.models import Classifier, MeDSLIP, Segmenter
from medslip_jax.models.kinds import kind_of, make_module
from medslip_jax.step.train_step import normalise
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config
from medslip_jax.text.books import TextBooks, centred, save_books
from medslip_jax.weights.loading import Pretrained, load
from medslip_jax.weights.saving import save_orbax
from medslip_jax.weights.torch.conversion import from_torch

CLASSES = {"medslip": MeDSLIP, "classifier": Classifier, "segmenter": Segmenter}
FILES = {"model.safetensors", "config.json", "README.md"}


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


def test_null_in_a_description_is_nothing_known(tmp_path):
    make_pretrained("medslip").save_pretrained(tmp_path / "model", license="mit")
    info = _config_json(tmp_path / "model") | dict.fromkeys(("books", "source", "experiment", "preprocessing"))
    (tmp_path / "model" / "config.json").write_text(json.dumps(info))
    got = MeDSLIP.from_pretrained(tmp_path / "model")
    assert got.info["books"]["tables"] == "as_is" and got.info["preprocessing"]["image_size"] == 224


def test_no_directory_of_this_machine_is_published(tmp_path):
    run = experiment.default_config()
    run.data.name, run.data.dir, run.books.path = "/home/me/data/scans", "/home/me/data", "/home/me/books.npz"
    run.data.mixture, run.init_from = "openi=2, /home/me/data/scans=1", "/home/me/runs/a"
    make_pretrained("medslip", experiment=run.to_dict()).save_pretrained(tmp_path / "model", license="mit")
    assert "/home" not in "".join((tmp_path / "model" / name).read_text() for name in ("config.json", "README.md"))
    published = _config_json(tmp_path / "model")["experiment"]
    assert published["data"]["name"] == "scans" and published["data"]["mixture"] == "openi=2,scans=1"
    assert published["init_from"] == "a"


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


def test_a_call_leaves_the_variables_of_training():
    """They go on training; what inference runs is made of them and kept, by each bundle its own."""
    pretrained, image = make_pretrained("classifier"), synthetic_batch(2, image_size=32)["image"]
    first = np.asarray(pretrained(image))
    assert_same(pretrained.variables, make_pretrained("classifier").variables)
    changed = jax.tree.map(lambda x: x, pretrained.variables)
    changed["batch_stats"]["trunk"]["bn1"]["mean"] = changed["batch_stats"]["trunk"]["bn1"]["mean"] + 1
    want = jax.jit(pretrained.module.apply)(changed, normalise(image))
    assert np.abs(want - first).max() > 1e-3
    got = dataclasses.replace(pretrained, variables=changed)(image)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


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
