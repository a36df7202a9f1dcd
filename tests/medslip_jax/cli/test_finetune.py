"""`medslip finetune` on a few phantoms: what it writes, how it goes on, what it refuses."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from places import CONFIGS

from data_pipelines.datasets.building.build import build
from data_pipelines.datasets.phantom import PhantomOptions
from medslip_jax import experiment
from medslip_jax.checkpoints import find_checkpoint, read_variables
from medslip_jax.cli import finetune, main
from medslip_jax.errors import InputError
from medslip_jax.evaluation import compare
from medslip_jax.evaluation.prediction import class_names
from medslip_jax.experiment import read
from medslip_jax.finetuning.judge import Judge
from medslip_jax.finetuning.start import initial_from
from medslip_jax.parallel.sharding import make_mesh, replicated
from medslip_jax.pretraining import pretrain
from medslip_jax.weights.loading import load
from medslip_jax.weights.torch.conversion import flatten

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    build("phantom", out=out, options=PhantomOptions(train=32, validation=24, test=24, size=64))
    return out


def settings(data: Path, kind: str = "classification", arg: str = "", **changes):
    config = experiment.load_config([f"--config={CONFIGS / f'finetune_{kind}.py'}:data=phantom,tiny{arg}"])
    config.data.dir, config.data.image_size, config.model.trunk_width = str(data), 32, 4
    config.num_steps, config.eval_every, config.save_every, config.log_every = 4, 2, 2, 1
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    return config


@pytest.fixture(scope="module")
def pretrained(data, tmp_path_factory):
    config = experiment.load_config([f"--config={CONFIGS / 'phantom.py'}:tiny"])
    config.data.dir, config.data.image_size, config.num_steps = str(data), 32, 2
    config.model.trunk_width, config.model.embed_dim = 4, 128
    config.model.decoder_ffn_dim, config.model.decoder_layers = 32, 1
    config.eval_every = config.save_every = 0
    workdir = tmp_path_factory.mktemp("pretrained")
    pretrain(config, workdir=workdir)
    return workdir


def variables(directory: Path) -> dict:
    return flatten(jax.device_get(read_variables(directory, sharding=replicated(make_mesh()))))


def test_a_classifier_from_pre_trained_weights(data, pretrained, tmp_path, capsys):
    config = settings(data, targets=("nodule", "effusion"), init_from=str(pretrained))
    assert finetune.finetune(config, workdir=tmp_path / "run")
    result = finetune.test_once(config, workdir=tmp_path / "run", resamples=20)
    assert list(result["classification"]["pathology"]["report"]["classes"]) == ["nodule", "effusion"]
    assert result["checkpoint"]["metric"] == "auroc" and result["checkpoint"]["step"] in (2, 4)
    assert result["data"]["images"] == 24 and len(result["data"]["ids_sha256"]) == 64
    subset = json.loads((tmp_path / "run" / "subset.json").read_text())
    assert subset["images"] == 32 and set(subset["positive"]) == {"nodule", "effusion"}
    found = load(tmp_path / "run" / "best")["pretrained"]
    assert class_names(found) == ["nodule", "effusion"]
    assert finetune.summary(result).startswith("best by validation: step")
    same = compare(tmp_path / "run" / "test", tmp_path / "run" / "test", resamples=10)
    assert same["macro"]["auroc"]["difference"] == 0.0
    assert json.loads((tmp_path / "run" / "test" / "metrics.json").read_text()) == result
    page = tmp_path / "page.html"
    assert main.main(["report", str(tmp_path / "run"), f"--results={tmp_path / 'run' / 'test'}", f"--out={page}"]) == 0
    text = page.read_text()
    assert "<h2>Classification</h2>" in text and 'class="warn"' not in text
    # "nodule" is the model's first class, but not the vocabulary's: boxes and truth are those of its name.
    assert re.search(r"<h3>nodule: (miss|true positive)", text) and "<rect x=" in text.split("<h2>Cases")[1]


def test_the_trunk_starts_with_the_pre_trained_weights_and_the_rest_anew(data, pretrained):
    config = settings(data, init_from=str(pretrained))
    start, source = flatten(initial_from(read(config))), variables(find_checkpoint(pretrained))
    taken = [path for path in start if path in source]
    assert taken and all(np.array_equal(start[path], source[path]) for path in taken)
    assert all("/layer4_" in path or "/head/" in path for path in set(start) - set(source))
    assert initial_from(read(settings(data))) is None


def test_the_test_split_is_judged_once(data, tmp_path, monkeypatch):
    config = settings(data, targets=("nodule",))
    finetune.finetune(config, workdir=tmp_path)
    first = finetune.test_once(config, workdir=tmp_path, resamples=10)
    assert first["resamples"] == 10 and first["dtype"] == "float32" and first["device"]["platform"] == "cpu"
    assert first["preprocessing"]["image_size"] == 32 and first["data"]["built_with"]["size"]
    monkeypatch.setattr(Judge, "rows", lambda *_, **__: pytest.fail("judged again"))
    assert finetune.test_once(config, workdir=tmp_path, resamples=10) == first
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        finetune.test_once(config, workdir=tmp_path, resamples=11)


def test_a_config_serves_several_runs(data, tmp_path):
    """What follows from the images of one run, such as the steps of an epoch, is not that of the next."""
    config = settings(data, targets=("nodule",), eval_every=0, num_steps=0, num_epochs=1)
    given = config.to_dict()
    for fraction, images in ((1.0, 32), (0.5, 16)):
        config.data.fraction, workdir = fraction, tmp_path / str(fraction)
        assert finetune.finetune(config, workdir=workdir)
        assert finetune.test_once(config, workdir=workdir, resamples=10)["training"]["train_images"] == images
        assert fine_tuning_best(workdir)["step"] == images // config.data.batch_size
    config.data.fraction = 1.0
    assert config.to_dict() == given


def test_the_best_step_by_validation_is_kept_whatever_follows(data, tmp_path, monkeypatch):
    values = iter([0.7, 0.9, 0.8])
    monkeypatch.setattr(Judge, "metric", lambda *_, **__: next(values))
    config = settings(data, targets=("nodule",), num_steps=3, eval_every=1, save_every=1, keep=5)
    finetune.finetune(config, workdir=tmp_path)
    best = fine_tuning_best(tmp_path)
    assert best["step"] == 2 and best["value"] == 0.9
    kept, second = variables(tmp_path / "best"), variables(tmp_path / "checkpoints" / "2")
    assert all(np.array_equal(kept[path], second[path]) for path in second)
    config.eval.metric = "average_precision"
    with pytest.raises(InputError, match=r"best: chosen by auroc, not average_precision; take another --workdir"):
        finetune.finetune(config, workdir=tmp_path)


def fine_tuning_best(workdir: Path) -> dict:
    return json.loads((workdir / "best" / "info" / "metadata").read_text())["best"]


def test_a_stopped_run_ends_as_the_undisturbed_one(data, tmp_path):
    for kind in ("classification", "segmentation"):
        config = settings(data, kind)
        assert finetune.finetune(config.copy_and_resolve_references(), workdir=tmp_path / f"{kind}_whole")
        assert not finetune.finetune(
            config.copy_and_resolve_references(), workdir=tmp_path / f"{kind}_parts", stop_after=2
        )
        assert finetune.finetune(config.copy_and_resolve_references(), workdir=tmp_path / f"{kind}_parts")
        for place in ("checkpoints/4", "best"):
            whole, parts = (variables(tmp_path / f"{kind}_{name}" / place) for name in ("whole", "parts"))
            assert all(np.array_equal(whole[path], parts[path]) for path in whole)


def test_a_probe_from_the_command_line(data, pretrained, tmp_path, capsys):
    argv = [
        "finetune", "--config", f"{CONFIGS / 'finetune_classification.py'}:data=phantom,tune=head,fraction=0.5,tiny",
        "--workdir", str(tmp_path), "--resamples", "10", f"--config.data.dir={data}", "--config.data.image_size=32",
        "--config.model.trunk_width=4", f"--config.init_from={pretrained}", "--config.num_steps=2",
    ]  # fmt: skip
    assert main.main(argv) == 0
    printed = capsys.readouterr().out
    assert "16 of 32 images" in printed and "macro mean of" in printed
    head, trunk = variables(tmp_path / "best"), variables(find_checkpoint(pretrained))
    assert all(np.array_equal(head[path], trunk[path]) for path in head if "/trunk/" in path)


def test_a_u_net_learns_masks_and_reports_every_dice(data, pretrained, tmp_path):
    config = settings(data, "segmentation", init_from=str(pretrained))
    finetune.finetune(config, workdir=tmp_path)
    result = finetune.test_once(config, workdir=tmp_path, resamples=20)
    row = result["segmentation"]["targets"]["effusion"]
    assert row["n_positive"] + row["n_negative"] == result["data"]["images"]
    assert set(row["intervals"]["means"]) == {"dice_pooled", "dice_all", "iou", "dice_positive"}
    assert "Dice, pooled" in finetune.summary(result)
    with np.load(tmp_path / "test" / "predictions.npz") as arrays:
        assert (arrays["intersection"] <= arrays["true"]).all()
    with pytest.raises(InputError, match="results of a segmenter have areas of masks and no probabilities"):
        compare(tmp_path / "test", tmp_path / "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval__metric": "iou"}, "eval.metric='iou': one of auroc, average_precision"),
        ({"targets": ("no_such",)}, "no class or target 'no_such'"),
        ({"data__fraction": 0.0}, "data.fraction=0.0"),
        (
            {"init_from": "PRETRAINED", "model__trunk_width": 8},
            "has model.trunk_width=4, this run 8; set --config.model",
        ),
        ({"tune": "head"}, "goes with a classifier and --config.model.last_stage=layer3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(data, pretrained, tmp_path, changes, message):
    changes = {key: str(pretrained) if value == "PRETRAINED" else value for key, value in changes.items()}
    with pytest.raises(InputError) as refused:
        finetune.finetune(settings(data, **changes), workdir=tmp_path / "run")
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run" / "best").exists()


def test_a_flip_that_would_misname_a_mask_is_refused(data):
    with pytest.raises(InputError, match=r"augment\.flip=none"):
        read(settings(data, "segmentation", targets=("left_lung_unspec",)))
    assert read(settings(data, "segmentation", targets=("left_lung_unspec", "right_lung_unspec")))


def test_resamples_are_looked_at_before_the_training(tmp_path, capsys):
    config = f"{CONFIGS / 'finetune_classification.py'}:data=phantom,tiny"
    assert main.main(["finetune", "--config", config, "--workdir", str(tmp_path / "run"), "--resamples", "0"]) == 2
    assert capsys.readouterr().err == "medslip: --resamples 0: must be at least 1\n"


def test_a_pre_training_config_is_refused(tmp_path, capsys):
    assert main.main(["finetune", "--config", str(CONFIGS / "phantom.py"), "--workdir", str(tmp_path)]) == 2
    assert "not a fine-tuning config" in capsys.readouterr().err
