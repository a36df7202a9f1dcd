"""`medslip convert`: any form to any form, bit for bit; what it says; and what it leaves alone when it fails."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_weights import CONFIGS, assert_same, files_below, state_of

from medslip_jax import checkpoint, cli, publish
from medslip_jax.models import MeDSLIPConfig
from medslip_jax.models.config import ClassifierConfig, SegmenterConfig
from medslip_jax.pretrained import load
from medslip_jax.testing import recipe_state, tiny_books, tiny_config
from medslip_jax.text_books import TextBooks, load_books, save_books
from medslip_jax.torch_files import read_state, write_state
from medslip_jax.vocabulary import ANATOMIES, PATHOLOGIES

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
FORMS = {"pth": "x.pth", "safetensors": "x.safetensors", "orbax": "x"}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch; pip install medslip_jax[torch]")


@pytest.fixture
def convert(capsys):
    """(A, B, flags) -> {"code", "out", "err"} of the verb."""

    def run(source, to, *flags) -> dict:
        code = cli.main(["convert", f"--from={source}", f"--to={to}", *map(str, flags)])
        captured = capsys.readouterr()
        return {"code": code, "out": captured.out, "err": captured.err}

    return run


def _converted(convert, source, to, *flags) -> str:
    """The output of a conversion that has to succeed."""
    result = convert(source, to, *flags)
    assert (result["code"], result["err"]) == (0, "")
    return result["out"]


def _refused(convert, source, to, *flags) -> str:
    """The one line of a conversion that has to fail without touching anything beside `to`."""
    before = files_below(Path(to).parent)
    result = convert(source, to, *flags)
    assert result["code"] == 2
    assert result["err"].startswith("medslip: ") and result["err"].count("\n") == 1
    assert files_below(Path(to).parent) == before
    return result["err"].removeprefix("medslip: ").rstrip()


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
    _converted(convert, tmp_path / "a.safetensors", tmp_path / "b")
    _converted(convert, tmp_path / "b", tmp_path / "c.safetensors")
    assert_same(read_state(tmp_path / "c.safetensors")["state"], read_state(tmp_path / "a.safetensors")["state"])
    assert (tmp_path / "c.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.torch
@pytest.mark.parametrize("kind", CONFIGS)
def test_any_to_any(torch, convert, tmp_path, kind):
    """Each form into each other form and itself; every .pth has the same bytes, whatever way it came."""
    state = state_of(CONFIGS[kind], counts="unequal")
    write_state(tmp_path / "x.pth", state)
    _converted(convert, tmp_path / "x.pth", tmp_path / "x.safetensors")
    _converted(convert, tmp_path / "x.safetensors", tmp_path / "x")
    for name, a in FORMS.items():
        for b in FORMS.values():
            out = tmp_path / f"from_{name}" / b
            out.parent.mkdir(exist_ok=True)
            _converted(convert, tmp_path / a, out)
        assert (out.parent / "x.pth").read_bytes() == (tmp_path / "x.pth").read_bytes()
        _converted(convert, out.parent / "x", out.parent / "y.pth")
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
    _converted(convert, tmp_path / "a.safetensors", tmp_path / "b")
    _converted(convert, tmp_path / "b", tmp_path / "c.pth")
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
    out = _converted(convert, tmp_path / "a.pth", tmp_path / "b.pth")
    assert (tmp_path / "b.pth").read_bytes() == (tmp_path / "want.pth").read_bytes()
    assert [line for line in out.splitlines() if "left out" in line] == ([left_out] if left_out else [])


def _foreign(path: Path, kind: str = "medslip", **changes) -> Path:
    """A bare .safetensors; `changes` add a tensor, or remove it where they are None ("__" for ".")."""
    state = state_of(CONFIGS[kind]) | {name.replace("__", "."): value for name, value in changes.items()}
    write_state(path, {name: array for name, array in state.items() if array is not None})
    return path


def test_what_is_said(convert, tmp_path):
    source = _foreign(tmp_path / "a.safetensors")
    assert _converted(convert, source, tmp_path / "b").splitlines() == [
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
    source, to = _foreign(tmp_path / "a.safetensors", "classifier", **_ODD), tmp_path / "out" / "b.safetensors"
    to.parent.mkdir()
    fit = {k: v for k, v in state_of(CONFIGS["classifier"]).items() if k not in ("res_out.bias", "res_features.1.bias")}
    odd = (
        f"1 missing (res_features.1.bias), 1 unexpected (extra), "
        f"1 shape mismatch (res_out.bias (5,), expected (3,)); {len(fit)} fit"
    )
    assert odd in _refused(convert, source, to)
    message = _refused(convert, source, to, "--excuse=extra", "--excuse=res_out.*")
    assert f": 1 missing (res_features.1.bias); {len(fit)} fit" in message
    out = _converted(convert, source, to, "--excuse=extra", "--excuse=res_out.*", "--excuse=res_features.1.bias")
    assert f"  loaded: {len(fit)}\n  missing: 1 (1 excused): res_features.1.bias\n  unexpected: 1 (1 excused)" in out
    info = json.loads((to.parent / "b.safetensors.json").read_text())
    assert info["excused"] == ["extra", "res_features.1.bias", "res_out.bias"]
    written = read_state(to)["state"]
    assert written.pop("res_out.bias").tolist() == written.pop("res_features.1.bias")[:3].tolist() == [0, 0, 0]
    assert_same(written, {name: fit[name] for name in written})
    assert written.keys() == fit.keys()


def test_excuses_are_remembered(convert, tmp_path):
    """Weights that were once made up stay marked, over both kinds of file."""
    _converted(convert, _foreign(tmp_path / "a.safetensors", extra=np.ones(1)), tmp_path / "b", "--excuse=extra")
    _converted(convert, tmp_path / "b", tmp_path / "c.safetensors")
    _converted(convert, tmp_path / "c.safetensors", tmp_path / "d")
    assert json.loads((tmp_path / "d" / "info" / "metadata").read_text())["excused"] == ["extra"]


def test_excuse_that_excuses_nothing(convert, tmp_path):
    source = _foreign(tmp_path / "a.safetensors")
    assert "nothing to excuse is called mask_*" in _refused(convert, source, tmp_path / "b", "--excuse=mask_*")
    _converted(convert, source, tmp_path / "c")
    assert "nothing to excuse is called x" in _refused(convert, tmp_path / "c", tmp_path / "b", "--excuse=x")


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
    assert message in _refused(convert, _foreign(tmp_path / "a.safetensors"), tmp_path / "b", flag)


def test_config_settles_what_is_invisible(convert, tmp_path):
    source, config = _foreign(tmp_path / "a.safetensors"), tiny_config(mask_activation="sigmoid")
    out = _converted(convert, source, tmp_path / "b.safetensors", f"--config={_config_file(tmp_path, config)}")
    assert "assumed" not in out
    _converted(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert load(tmp_path / "c")["pretrained"].config == config


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
def test_config_against_a_description(convert, tmp_path, to):
    """decoder_heads cannot be seen in the tensors: the description knows better than a wrong --config."""
    right, wrong = tiny_config(decoder_heads=2), tiny_config(decoder_heads=8)
    source = _foreign(tmp_path / "a.safetensors")
    _converted(convert, source, tmp_path / to, f"--config={_config_file(tmp_path, right)}")
    message = _refused(convert, tmp_path / to, tmp_path / "c", f"--config={_config_file(tmp_path, wrong)}")
    assert "not the model of --config: model.decoder_heads: 2 -> 8" in message


def _books_file(path: Path, **provenance) -> Path:
    books = tiny_books()
    save_books(TextBooks(books.pathology, books.anatomy, books.provenance | provenance), path=path)
    return path


def test_description_beside_the_weights(convert, tmp_path):
    source = _foreign(tmp_path / "a.safetensors")
    books = _books_file(tmp_path / "books.npz", prompts_sha256="12ab")
    _converted(convert, source, tmp_path / "b.safetensors", f"--books={books}")
    info = json.loads((tmp_path / "b.safetensors.json").read_text())
    assert info["kind"] == "medslip" and info["model"] == dataclasses.asdict(tiny_config(decoder_heads=4))
    assert info["classes"] == {"pathology": list(PATHOLOGIES), "anatomy": list(ANATOMIES)}
    assert info["preprocessing"]["image_size"] == 224 and len(info["preprocessing"]["mean"]) == 3
    assert info["books"]["prompts_sha256"] == "12ab" and info["books"]["encoder"] == "random"
    assert {"medslip_jax", "jax", "flax", "numpy", "python"} <= set(info["versions"])
    assert info["source"]["name"] == "a.safetensors" and len(info["source"]["sha256"]) == 64
    assert np.array_equal(load_books(tmp_path / "b.safetensors.books.npz").anatomy, tiny_books().anatomy)


def test_books_travel_through_every_form(convert, tmp_path):
    _converted(
        convert,
        _foreign(tmp_path / "a.safetensors"),
        tmp_path / "b.safetensors",
        f"--books={_books_file(tmp_path / 'books.npz')}",
    )
    assert "text tables: random" in _converted(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert "text tables: random" in _converted(convert, tmp_path / "c", tmp_path / "d.safetensors")
    assert (tmp_path / "d.safetensors.books.npz").read_bytes() == (tmp_path / "books.npz").read_bytes()


@pytest.mark.parametrize("form", ["b.safetensors", "b"])
def test_books_can_be_given_later(convert, tmp_path, form):
    """As `medslip evaluate` advises where a converted model came without them."""
    _converted(convert, _foreign(tmp_path / "a.safetensors"), tmp_path / form)
    out = _converted(convert, tmp_path / form, tmp_path / "c", f"--books={_books_file(tmp_path / 'books.npz')}")
    assert "text tables: random" in out
    assert load(tmp_path / "c")["pretrained"].inputs[0].shape == (len(PATHOLOGIES), 12)


def test_books_for_a_model_without(convert, tmp_path):
    source, books = _foreign(tmp_path / "a.safetensors", "classifier"), _books_file(tmp_path / "books.npz")
    assert "holds a classifier, which reads no text tables" in _refused(
        convert, source, tmp_path / "b", f"--books={books}"
    )


def test_books_of_another_width(convert, tmp_path):
    save_books(tiny_books(9), path=tmp_path / "books.npz")
    source = _foreign(tmp_path / "a.safetensors")
    message = _refused(convert, source, tmp_path / "b", f"--books={tmp_path / 'books.npz'}")
    assert "tables 9 wide, but the model's text_dim is 12" in message


def test_stale_side_files_are_refused(convert, tmp_path):
    source, books = _foreign(tmp_path / "a.safetensors"), _books_file(tmp_path / "books.npz")
    _converted(convert, source, tmp_path / "b.safetensors", f"--books={books}")
    other = tiny_books()
    save_books(TextBooks(other.pathology + 1, other.anatomy, {}), path=tmp_path / "b.safetensors.books.npz")
    message = _refused(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert "b.safetensors.books.npz: not the text tables that b.safetensors was written with" in message
    shutil.copy(_foreign(tmp_path / "new.safetensors", "segmenter"), tmp_path / "b.safetensors")
    message = _refused(convert, tmp_path / "b.safetensors", tmp_path / "c")
    assert "b.safetensors.json: describes another b.safetensors; remove it or convert again" in message


def test_overwriting_takes_old_books_away(convert, tmp_path):
    source = _foreign(tmp_path / "a.safetensors")
    _converted(convert, source, tmp_path / "b.safetensors", f"--books={_books_file(tmp_path / 'books.npz')}")
    _converted(convert, _foreign(tmp_path / "s.safetensors", "segmenter"), tmp_path / "b.safetensors", "--overwrite")
    assert not (tmp_path / "b.safetensors.books.npz").exists()
    assert load(tmp_path / "b.safetensors", kind="segmenter")


@pytest.mark.parametrize("form", ["safetensors", "orbax"])
def test_onto_itself(convert, tmp_path, form):
    """The source may be read from the disk while it is replaced."""
    path = tmp_path / FORMS[form]
    _converted(convert, _foreign(tmp_path / "a.safetensors"), path)
    _converted(convert, path, path, "--overwrite")
    got = load(path)["pretrained"].variables["params"]["mask_generator"]["bias"]
    assert np.array_equal(got, state_of(tiny_config())["mask_generator.bias"])


def _nan(path: Path, names: tuple[str, ...] = ("cl_fc_pathology.bias",)) -> Path:
    state = state_of(tiny_config())
    bad = {n: np.full_like(x, np.nan) for n, x in state.items() if x.dtype.kind == "f" and (n in names or not names)}
    write_state(path, state | bad)
    return path


def _int8(path: Path) -> Path:
    state = state_of(CONFIGS["classifier"])
    write_state(path, {name: array.astype(np.int8) if array.ndim > 1 else array for name, array in state.items()})
    return path


def _cut(path: Path) -> Path:
    path.write_bytes(_foreign(path).read_bytes()[:5000])
    return path


def _text(path: Path) -> Path:
    path.write_text("no checkpoint")
    return path


def _resnet34(path: Path) -> Path:
    extra = {f"res_features.{stage}.2.conv1.weight": np.ones((1, 1, 1, 1), np.float32) for stage in (4, 5, 6)}
    return _foreign(path, **extra)


def _bert(path: Path) -> Path:
    write_state(path, {"encoder.layer.0.attention.self.query.weight": np.ones((4, 4), np.float32)})
    return path


SOURCES = {
    "truncated": (_cut, "not a readable checkpoint, truncated"),
    "text": (_text, "not a readable checkpoint, truncated"),
    "another network": (_bert, "no MeDSLIP model, classifier or U-Net"),
    "another backbone": (_resnet34, "the backbone has 3-3-3 basic blocks; known are resnet50 3-4-6; resnet18 2-2-2"),
    "one NaN": (_nan, "1 tensors hold NaN or infinity (params/projection_pathology/bias)"),
    "all NaN": (lambda path: _nan(path, ()), "tensors hold NaN or infinity"),
    "integers": (_int8, "tensors are not floats, as quantised ones are"),
    "missing": (lambda path: path, "a.safetensors: no such file or directory"),
    "unknown suffix": (
        lambda path: _text(path.with_suffix(".onnx")),
        "a.onnx: expected a directory or a file with .pth",
    ),
    "no checkpoint in it": (lambda path: path.parent, "holds no checkpoint"),
}


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
@pytest.mark.parametrize("case", SOURCES)
def test_source_that_cannot_be_used(convert, tmp_path, case, to):
    """One line, code 2; a target that is not there stays away, one that is there stays as it is."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    make, message = SOURCES[case]
    source = make(tmp_path / "in" / "a.safetensors")
    target = tmp_path / "out" / to
    assert message in _refused(convert, source, target)
    if target.suffix:
        target.write_bytes(b"old")
    else:
        (target / "model").mkdir(parents=True)
        (target / "model" / "x").write_bytes(b"old")
    assert message in _refused(convert, source, target, "--overwrite")
    assert len(files_below(tmp_path / "out")) == 1


@pytest.fixture(scope="module")
def orbax(tmp_path_factory) -> Path:
    """A converted checkpoint; copy it before you damage it."""
    folder = tmp_path_factory.mktemp("orbax")
    assert cli.main(["convert", f"--from={_foreign(folder / 'a.safetensors')}", f"--to={folder / 'b'}"]) == 0
    return folder / "b"


def _largest(directory: Path) -> Path:
    return max((directory / "model" / "ocdbt.process_0" / "d").iterdir(), key=lambda path: path.stat().st_size)


def _removed(path: Path) -> None:
    path.unlink()


def _halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (_halved, lambda d: d / "config" / "metadata", "cannot read the checkpoint's config"),
        (_removed, lambda d: d / "config" / "metadata", "cannot read the checkpoint's config"),
        (_halved, lambda d: d / "info" / "metadata", "cannot read the checkpoint's description"),
        (_halved, lambda d: d / "model" / "_METADATA", "cannot be read"),
        (_removed, lambda d: d / "model" / "_METADATA", "cannot be read"),
        (_halved, lambda d: d / "model" / "manifest.ocdbt", "cannot be read"),
        (_removed, lambda d: d / "model" / "manifest.ocdbt", "cannot be read"),
        (_halved, _largest, "cannot be read"),
        (_removed, _largest, "cannot be read"),
        (shutil.rmtree, lambda d: d / "model", "holds no checkpoint"),
    ],
)
def test_half_written_directory(convert, tmp_path, orbax, damage, file, message):
    (tmp_path / "out").mkdir()
    shutil.copytree(orbax, tmp_path / "half")
    damage(file(tmp_path / "half"))
    assert message in _refused(convert, tmp_path / "half", tmp_path / "out" / "c.safetensors")


@pytest.mark.parametrize(
    ("to", "flags", "message"),
    [
        ("b.safetensors", [], "b.safetensors is there already; give another name or --overwrite"),
        ("d", [], "d is there already; give another name or --overwrite"),
        ("e.safetensors", [], "e.safetensors.json is there already"),
        ("c.onnx", [], "unknown suffix .onnx; write .pth, .pt, .bin, .safetensors or a directory"),
        ("no/c.safetensors", [], "no directory"),
        ("no/c", [], "no directory"),
        ("plain", ["--overwrite"], "is a file, and a directory would take its place"),
        ("photos", ["--overwrite"], "holds other things than a converted model (holiday.jpg)"),
        ("run", ["--overwrite"], "holds other things than a converted model (checkpoints)"),
        ("c.safetensors", ["--license=mit"], "belong to --format pretrained"),
        ("c", ["--format=pretrained"], "--license is missing"),
        ("c", ["--books=nowhere.npz"], "nowhere.npz: cannot read the text books"),
        ("c", ["--config=nowhere.py"], "nowhere.py"),
    ],
)
def test_target_or_flags_that_cannot_be_used(convert, tmp_path, to, flags, message):
    """--overwrite never deletes what is not a converted model."""
    for name in ("b.safetensors", "e.safetensors.json", "plain", "photos/holiday.jpg", "run/checkpoints/1/x", "d/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    source = _foreign(tmp_path / "a.safetensors")
    before = files_below(tmp_path)
    result = convert(source, tmp_path / to, *flags)
    assert (result["code"], result["err"].count("\n")) == (2, 1)
    assert message in result["err"]
    assert files_below(tmp_path) == before


def test_overwrite(convert, tmp_path):
    for kind in ("classifier", "segmenter"):
        source = _foreign(tmp_path / "a.safetensors", kind)
        for to in ("b", "b.safetensors"):
            _converted(convert, source, tmp_path / to, *(["--overwrite"] if kind == "segmenter" else []))
    assert load(tmp_path / "b", kind="segmenter") and load(tmp_path / "b.safetensors", kind="segmenter")
    assert {p.name for p in tmp_path.iterdir()} == {"a.safetensors", "b", "b.safetensors", "b.safetensors.json"}


def _no_space(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _orbax_stops(self, directory, *args, **kwargs):
    """What tensorstore's failure leaves: a directory of Orbax's own beside the one that it was given."""
    left = Path(f"{directory}.orbax-checkpoint-tmp") / "model"
    left.mkdir(parents=True)
    raise ValueError("OUT_OF_RANGE: Failed to write 9 bytes: No space left on device [os_error_code='28']\nsource ...")


@pytest.mark.parametrize(
    ("to", "where", "fake"),
    [
        ("b.safetensors", (publish, "info_bytes"), _no_space),
        ("b.safetensors", (publish, "save_books"), _no_space),
        ("b.safetensors", (publish, "file_hash"), _no_space),
        ("b", (publish, "write_model"), _no_space),
        ("b", (publish, "save_books"), _no_space),
        ("b", (checkpoint.ocp.Checkpointer, "save"), _orbax_stops),
        ("b", (checkpoint.shutil, "disk_usage"), lambda path: shutil._ntuple_diskusage(1000, 999, 1)),
    ],
    ids=["description", "books", "hash", "orbax", "orbax books", "tensorstore", "free space"],
)
@pytest.mark.parametrize("old", ["absent", "present"])
def test_disk_full_at_any_file(convert, tmp_path, monkeypatch, to, where, fake, old):
    """All or nothing: weights, description and text tables are one target."""
    out = tmp_path / "out"
    out.mkdir()
    books = f"--books={_books_file(tmp_path / 'books.npz')}"
    if old == "present":
        _converted(
            convert,
            _foreign(tmp_path / "old.safetensors", cl_fc_anatomy__bias=np.full(12, 5, np.float32)),
            out / to,
            books,
        )
    monkeypatch.setattr(*where, fake)
    message = _refused(convert, _foreign(tmp_path / "a.safetensors"), out / to, books, "--overwrite")
    assert "cannot be written (No space left on device); check the folder and the space left" in message
    monkeypatch.undo()
    if old == "present":
        assert load(out / to)["pretrained"].variables["params"]["projection_anatomy"]["bias"][0] == 5


def _process(*argv) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "medslip_jax.cli", "convert", *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.torch
@pytest.mark.parametrize("case", ["truncated", "jpeg", "code"])
def test_real_process_refuses_a_pth(torch, tmp_path, case):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    target.write_bytes(b"old")
    if case == "code":
        torch.save({"model": {"w": torch.ones(1)}, "args": Bomb(tmp_path / "ran")}, source)
    else:
        write_state(source, state_of(CONFIGS["classifier"]))
        data = source.read_bytes()
        source.write_bytes(data[: len(data) // 2] if case == "truncated" else b"\xff\xd8\xff\xe0" + bytes(99))
    before = files_below(tmp_path)
    run = _process("--from", source, "--to", target, "--overwrite")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith(f"medslip: {source}: {'holds Python objects' if case == 'code' else 'not a readable'}")
    assert files_below(tmp_path) == before and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["no data", "cut data", "one file lost"])
def test_real_process_refuses_a_half_written_directory(tmp_path, orbax, damage):
    """Orbax's threads would print pages."""
    shutil.copytree(orbax, tmp_path / "half")
    if damage == "no data":
        shutil.rmtree(tmp_path / "half" / "model")
    elif damage == "cut data":
        os.truncate(_largest(tmp_path / "half"), 100)
    else:
        _largest(tmp_path / "half").unlink()
    before = files_below(tmp_path)
    run = _process("--from", tmp_path / "half", "--to", tmp_path / "b")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith(f"medslip: {tmp_path / 'half'}: ")
    assert files_below(tmp_path) == before


_KILLED = """
import os, signal, sys
from medslip_jax import cli, publish
publish.info_bytes = lambda info: os.kill(os.getpid(), signal.SIGKILL)
publish.write_model = lambda directory, *args, **kwargs: (directory / "half").touch() or publish.info_bytes(0)
cli.main(["convert", "--from", sys.argv[1], "--to", sys.argv[2], "--overwrite"])
"""


@pytest.mark.parametrize("to", ["b.safetensors", "b"])
def test_kill_in_the_middle_leaves_the_old_target(convert, tmp_path, to):
    _converted(convert, _foreign(tmp_path / "old.safetensors", "segmenter"), tmp_path / to)
    source, before = _foreign(tmp_path / "a.safetensors"), files_below(tmp_path)
    argv = [sys.executable, "-c", _KILLED, str(source), str(tmp_path / to)]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert run.returncode == -signal.SIGKILL
    after = files_below(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) != set(before) and all(name.startswith(".") for name in set(after) - set(before))
    assert load(tmp_path / to, kind="segmenter")
