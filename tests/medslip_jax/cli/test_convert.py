"""`medslip convert`: any form to any form, bit for bit; and what it says of it."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from places import GOLDEN
from tiny_weights import (
    CONFIGS,
    assert_same,
    books_file,
    converted,
    foreign,
    refused,
    run_convert,
    state_of,
)

from medslip_jax.models import MeDSLIPConfig
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.models.kinds import initial_leaves
from medslip_jax.storage.tensor_files import write_state
from medslip_jax.storage.tensor_reading import read_state
from medslip_jax.testing import recipe_state, tiny_books, tiny_config
from medslip_jax.text.books import TextBooks, load_books, save_books
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES
from medslip_jax.weights.loading import load

FORMS = {"pth": "x.pth", "safetensors": "x.safetensors", "orbax": "x"}


@pytest.fixture
def convert(capsys):
    """(A, B, flags) -> {"code", "out", "err"} of the verb."""
    return functools.partial(run_convert, capsys)


def _config_file(folder: Path, config: MeDSLIPConfig) -> Path:
    """An experiment around a model."""
    lines = [f"    config.model.{key} = {value!r}" for key, value in dataclasses.asdict(config).items()]
    path = folder / "experiment.py"
    body = [
        "from medslip_jax import experiment",
        "def get_config(arg=None):",
        "    config = experiment.default_config()",
    ]
    path.write_text("\n".join([*body, *lines, "    return config", ""]))
    return path


@pytest.mark.parametrize("counts", ["zero", "equal", "unequal"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_safetensors_orbax_safetensors(convert, tmp_path, kind, counts):
    """Needs no PyTorch. The first file is foreign: no description lies beside it."""
    state = state_of(CONFIGS[kind], counts=counts)
    write_state(tmp_path / "a.safetensors", state)
    converted(convert, tmp_path / "a.safetensors", tmp_path / "b")
    converted(convert, tmp_path / "b", tmp_path / "c.safetensors")
    assert_same(read_state(tmp_path / "c.safetensors")["state"], read_state(tmp_path / "a.safetensors")["state"])
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.torch
@pytest.mark.parametrize("kind", CONFIGS)
def test_any_to_any(torch, convert, tmp_path, kind):
    """Each form into each other form and itself; every .pth has the same bytes, whatever way it came."""
    state = state_of(CONFIGS[kind], counts="unequal")
    write_state(tmp_path / "x.pth", state)
    converted(convert, tmp_path / "x.pth", tmp_path / "x.safetensors")
    converted(convert, tmp_path / "x.safetensors", tmp_path / "x")
    for name, a in FORMS.items():
        for b in FORMS.values():
            out = tmp_path / f"from_{name}" / b
            out.parent.mkdir(exist_ok=True)
            converted(convert, tmp_path / a, out)
        assert (out.parent / "x.pth").read_bytes() == (tmp_path / "x.pth").read_bytes()
        converted(convert, out.parent / "x", out.parent / "y.pth")
        assert (out.parent / "y.pth").read_bytes() == (tmp_path / "x.pth").read_bytes()
        assert_same(
            dict(sorted(read_state(out.parent / "x.safetensors")["state"].items())), dict(sorted(state.items()))
        )
    assert list(torch.load(tmp_path / "from_orbax" / "y.pth", weights_only=True)["model"]) == list(state)


MANIFESTS = {
    "medslip": (MeDSLIPConfig(), json.loads((GOLDEN / "resnet50.manifest.json").read_text())),
    **{
        name: (config, json.loads((GOLDEN / "finetune.manifest.json").read_text())[name])
        for name, config in {
            "classifier": ClassifierConfig(),
            "classifier_disentangled": ClassifierConfig(disentangle="pathology"),
            "resunet": SegmenterConfig(),
        }.items()
    },
}


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", MANIFESTS)
def test_released_files(torch, convert, tmp_path, name):
    """Key order, shapes and dtypes of the released classes, from a file without order (safetensors), over Orbax."""
    config, manifest = MANIFESTS[name]
    state = recipe_state(manifest)
    write_state(tmp_path / "a.safetensors", state)
    converted(convert, tmp_path / "a.safetensors", tmp_path / "b")
    converted(convert, tmp_path / "b", tmp_path / "c.pth")
    written = torch.load(tmp_path / "c.pth", weights_only=True)["model"]
    assert list(written) == list(manifest)
    assert {k: list(v.shape) for k, v in written.items()} == manifest
    assert_same({k: v.numpy() for k, v in written.items()}, state)
    assert load(tmp_path / "b")["pretrained"].config == config


@pytest.mark.torch
@pytest.mark.parametrize(
    ("wrap", "left_out"),
    [
        (lambda s: {"model": s}, None),
        (lambda s: s, None),
        (lambda s: {"state_dict": s, "optimizer": {"state": {0: 1}}, "epoch": 3}, "  left out: epoch, optimizer"),
        (lambda s: {"model": {f"module.{k}": v for k, v in s.items()}}, None),
        (
            lambda s: {k.replace("pathology_embedding_layer", "disease_embedding_layer"): v for k, v in s.items()},
            None,
        ),
    ],
    ids=["model", "bare", "optimiser", "module.", "old name"],
)
def test_every_way_of_saving_means_the_same(torch, convert, tmp_path, wrap, left_out):
    state = state_of(tiny_config(), counts="equal")
    write_state(tmp_path / "want.pth", state)
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    torch.save(wrap(tensors), tmp_path / "a.pth")
    out = converted(convert, tmp_path / "a.pth", tmp_path / "b.pth")
    assert (tmp_path / "b.pth").read_bytes() == (tmp_path / "want.pth").read_bytes()
    assert [line for line in out.splitlines() if "left out" in line] == ([left_out] if left_out else [])


def test_what_is_said(convert, tmp_path):
    source = foreign(tmp_path / "a.safetensors")
    assert converted(convert, source, tmp_path / "b").splitlines() == [
        f"{source}: medslip, resnet18, width 8",
        f"  loaded: {len(state_of(tiny_config()))}",
        "  missing: 0",
        "  unexpected: 0",
        "  shape mismatch: 0",
        "  assumed, as a bare state_dict does not show it: decoder_heads=4, mask_activation=none; "
        "--config says otherwise",
        "  text tables: unknown; evaluation needs --books FILE.npz",
        f"written: {tmp_path / 'b'}",
    ]


_ODD = {"res_out__bias": np.ones(5, np.float32), "res_features__1__bias": None, "extra": np.ones(1, np.float32)}


def test_strict_unless_excused(convert, tmp_path):
    source, to = foreign(tmp_path / "a.safetensors", "classifier", **_ODD), tmp_path / "out" / "b.safetensors"
    to.parent.mkdir()
    fit = {k: v for k, v in state_of(CONFIGS["classifier"]).items() if k not in ("res_out.bias", "res_features.1.bias")}
    odd = (
        f"1 missing (res_features.1.bias), 1 unexpected (extra), "
        f"1 shape mismatch (res_out.bias (5,), expected (3,)); {len(fit)} fit"
    )
    assert odd in refused(convert, source, to)
    message = refused(convert, source, to, "--excuse=extra", "--excuse=res_out.*")
    assert f": 1 missing (res_features.1.bias); {len(fit)} fit" in message
    out = converted(convert, source, to, "--excuse=extra", "--excuse=res_out.*", "--excuse=res_features.1.bias")
    assert f"  loaded: {len(fit)}\n  missing: 1 (1 excused): res_features.1.bias\n  unexpected: 1 (1 excused)" in out
    info = json.loads((to.parent / "b.safetensors.json").read_text())
    assert info["excused"] == ["extra", "res_features.1.bias", "res_out.bias"]
    written = read_state(to)["state"]
    initial = initial_leaves(CONFIGS["classifier"], ["params/head/bias"])
    assert np.array_equal(written.pop("res_out.bias"), initial["params/head/bias"])
    assert not written.pop("res_features.1.bias").any()
    assert_same(written, {name: fit[name] for name in written})
    assert written.keys() == fit.keys()


def test_excuses_are_remembered(convert, tmp_path):
    """Weights that were once made up stay marked, over both kinds of file."""
    converted(convert, foreign(tmp_path / "a.safetensors", extra=np.ones(1)), tmp_path / "b", "--excuse=extra")
    converted(convert, tmp_path / "b", tmp_path / "c.safetensors")
    converted(convert, tmp_path / "c.safetensors", tmp_path / "d")
    assert json.loads((tmp_path / "d" / "info" / "metadata").read_text())["excused"] == ["extra"]


def test_excuse_that_excuses_nothing(convert, tmp_path):
    source = foreign(tmp_path / "a.safetensors")
    assert "nothing to excuse is called mask_*" in refused(convert, source, tmp_path / "b", "--excuse=mask_*")
    converted(convert, source, tmp_path / "c")
    assert "nothing to excuse is called x" in refused(convert, tmp_path / "c", tmp_path / "b", "--excuse=x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet50"}, "another model: backbone resnet18, expected resnet50"),
        ({"trunk_width": 16}, "another model: trunk_width 8, expected 16"),
        ({"embed_dim": 32}, "another model: embed_dim 16, expected 32"),
    ],
)
def test_wrong_backbone_or_width_is_named(convert, tmp_path, changes, message):
    flag = f"--config={_config_file(tmp_path, tiny_config(**changes))}"
    assert message in refused(convert, foreign(tmp_path / "a.safetensors"), tmp_path / "b", flag)


def test_config_settles_what_is_invisible(convert, tmp_path):
    source, config = foreign(tmp_path / "a.safetensors"), tiny_config(mask_activation="sigmoid")
    out = converted(convert, source, tmp_path / "b.safetensors", f"--config={_config_file(tmp_path, config)}")
    assert "assumed" not in out
    converted(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert load(tmp_path / "c")["pretrained"].config == config


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
def test_config_against_a_description(convert, tmp_path, to):
    """decoder_heads cannot be seen in the tensors: the description knows better than a wrong --config."""
    right, wrong = tiny_config(decoder_heads=2), tiny_config(decoder_heads=8)
    source = foreign(tmp_path / "a.safetensors")
    converted(convert, source, tmp_path / to, f"--config={_config_file(tmp_path, right)}")
    message = refused(convert, tmp_path / to, tmp_path / "c", f"--config={_config_file(tmp_path, wrong)}")
    assert "not the model of --config: model.decoder_heads: 2 -> 8" in message


def test_a_description_of_an_earlier_version_lacks_options_that_have_come_since(convert, tmp_path):
    config = tiny_config(decoder_heads=2)
    flag = f"--config={_config_file(tmp_path, config)}"
    converted(convert, foreign(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", flag)
    beside = tmp_path / "b.safetensors.json"
    info = json.loads(beside.read_text())
    del info["model"]["patch_norm"]
    beside.write_text(json.dumps(info))
    converted(convert, tmp_path / "b.safetensors", tmp_path / "c", flag)
    assert load(tmp_path / "c")["pretrained"].config == config


def test_description_beside_the_weights(convert, tmp_path):
    source = foreign(tmp_path / "a.safetensors")
    books = books_file(tmp_path / "books.npz", prompts_sha256="12ab")
    converted(convert, source, tmp_path / "b.safetensors", f"--books={books}")
    info = json.loads((tmp_path / "b.safetensors.json").read_text())
    assert info["kind"] == "medslip" and info["model"] == dataclasses.asdict(tiny_config(decoder_heads=4))
    assert info["classes"] == {"pathology": list(PATHOLOGIES), "anatomy": list(ANATOMIES)}
    assert info["preprocessing"]["image_size"] == 224 and len(info["preprocessing"]["mean"]) == 3
    assert info["books"]["prompts_sha256"] == "12ab" and info["books"]["encoder"] == "random"
    assert {"medslip_jax", "jax", "flax", "numpy", "python"} <= set(info["versions"])
    assert info["source"]["name"] == "a.safetensors" and len(info["source"]["sha256"]) == 64
    assert np.array_equal(load_books(tmp_path / "b.safetensors.books.npz").anatomy, tiny_books().anatomy)


def test_books_travel_through_every_form(convert, tmp_path):
    converted(
        convert,
        foreign(tmp_path / "a.safetensors"),
        tmp_path / "b.safetensors",
        f"--books={books_file(tmp_path / 'books.npz')}",
    )
    assert "text tables: random" in converted(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert "text tables: random" in converted(convert, tmp_path / "c", tmp_path / "d.safetensors")
    assert (tmp_path / "d.safetensors.books.npz").read_bytes() == (tmp_path / "books.npz").read_bytes()


@pytest.mark.parametrize("form", ["b.safetensors", "b"])
def test_books_can_be_given_later(convert, tmp_path, form):
    """As `medslip evaluate` advises where a converted model came without them."""
    converted(convert, foreign(tmp_path / "a.safetensors"), tmp_path / form)
    out = converted(convert, tmp_path / form, tmp_path / "c", f"--books={books_file(tmp_path / 'books.npz')}")
    assert "text tables: random" in out
    assert load(tmp_path / "c")["pretrained"].inputs[0].shape == (len(PATHOLOGIES), 12)


def test_books_for_a_model_without(convert, tmp_path):
    source, books = foreign(tmp_path / "a.safetensors", "classifier"), books_file(tmp_path / "books.npz")
    assert "holds a classifier, which reads no text tables" in refused(
        convert, source, tmp_path / "b", f"--books={books}"
    )


def test_books_of_another_width(convert, tmp_path):
    save_books(tiny_books(9), path=tmp_path / "books.npz")
    source = foreign(tmp_path / "a.safetensors")
    message = refused(convert, source, tmp_path / "b", f"--books={tmp_path / 'books.npz'}")
    assert "tables 9 wide, but the model's text_dim is 12" in message


def test_stale_side_files_are_refused(convert, tmp_path):
    source, books = foreign(tmp_path / "a.safetensors"), books_file(tmp_path / "books.npz")
    converted(convert, source, tmp_path / "b.safetensors", f"--books={books}")
    other = tiny_books()
    save_books(TextBooks(other.pathology + 1, other.anatomy, {}), path=tmp_path / "b.safetensors.books.npz")
    message = refused(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert "b.safetensors.books.npz: not the text tables that b.safetensors was written with" in message
    shutil.copy(foreign(tmp_path / "new.safetensors", "segmenter"), tmp_path / "b.safetensors")
    message = refused(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert "b.safetensors.json: describes another b.safetensors; remove it or convert again" in message


def test_overwriting_takes_old_books_away(convert, tmp_path):
    source = foreign(tmp_path / "a.safetensors")
    converted(convert, source, tmp_path / "b.safetensors", f"--books={books_file(tmp_path / 'books.npz')}")
    converted(convert, foreign(tmp_path / "s.safetensors", "segmenter"), tmp_path / "b.safetensors", "--overwrite")
    assert not (tmp_path / "b.safetensors.books.npz").exists()
    assert load(tmp_path / "b.safetensors", kind="segmenter")


@pytest.mark.parametrize("form", ["safetensors", "orbax"])
def test_onto_itself(convert, tmp_path, form):
    """The source may be read from the disk while it is replaced."""
    path = tmp_path / FORMS[form]
    converted(convert, foreign(tmp_path / "a.safetensors"), path)
    converted(convert, path, path, "--overwrite")
    got = load(path)["pretrained"].variables["params"]["mask_generator"]["bias"]
    assert np.array_equal(got, state_of(tiny_config())["mask_generator.bias"])


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
def test_what_was_assumed_can_be_put_right_later(convert, tmp_path, to):
    converted(convert, foreign(tmp_path / "a.safetensors"), tmp_path / to)
    right = tiny_config(mask_activation="sigmoid", dtype="bfloat16")
    converted(convert, tmp_path / to, tmp_path / "c", f"--config={_config_file(tmp_path, right)}")
    assert load(tmp_path / "c")["pretrained"].config == right


def test_not_everything_can_be_excused(convert, tmp_path):
    flag = f"--config={_config_file(tmp_path, tiny_config(trunk_width=16, embed_dim=32, text_dim=24))}"
    state = {"mask_generator.weight": np.ones((3, 3), np.float32), "pathology_embedding_layer.bias": np.ones(3)}
    write_state(tmp_path / "a.safetensors", state)
    assert "not one tensor fits" in refused(convert, tmp_path / "a.safetensors", tmp_path / "b", flag, "--excuse=*")


def test_format_belongs_to_directories(convert, tmp_path):
    message = refused(convert, "a", tmp_path / "b.safetensors", "--format=pretrained")
    assert "--format pretrained: is for directories" in message
