"""Serving functions, and the files that carry them: the same numbers wherever they run."""

import dataclasses
import json
import logging
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from medslip_jax.errors import InputError
from medslip_jax.models import ClassifierConfig, MeDSLIPConfig, SegmenterConfig
from medslip_jax.models.kinds import abstract_variables, kind_of, make_module
from medslip_jax.step.train_step import normalise
from medslip_jax.testing import recipe_state, synthetic_batch, tiny_books, tiny_config
from medslip_jax.weights.export import onnx as onnx_export
from medslip_jax.weights.export.stablehlo import (
    ServingFunction,
    describe_arrays,
    image_spec,
    read_stablehlo,
    serving_function,
)
from medslip_jax.weights.export.stablehlo import write_stablehlo as write_zip
from medslip_jax.weights.torch.conversion import from_torch, to_torch

pytestmark = pytest.mark.portable

SIZE = 32
CONFIGS = {
    "medslip": tiny_config(),
    "classifier": ClassifierConfig(backbone="resnet18", trunk_width=8, num_classes=3),
    "classifier_disentangled": ClassifierConfig(backbone="resnet18", trunk_width=8, disentangle="pathology"),
    "segmenter": SegmenterConfig(backbone="resnet18", trunk_width=8, num_classes=2),
}
# Runs an exported file as somebody without this package does. argv: the file, an .npz of images, an .npz to write.
WITHOUT_US = """
import sys
for name in ("medslip_jax", "flax", "orbax", "optax", "torch"):
    sys.modules[name] = None  # importing it is an ImportError
import json, zipfile, jax, jax.export, numpy as np
archive = zipfile.ZipFile(sys.argv[1])
program = jax.export.deserialize(bytearray(archive.read("model.jax_export")))
names = list(json.loads(archive.read("metadata.json"))["outputs"])
call, results = jax.jit(program.call), {}
for size, image in np.load(sys.argv[2]).items():
    outputs = call(image)
    assert sorted(outputs) == sorted(names)
    results.update({f"{size}/{name}": outputs[name] for name in names})
np.savez(sys.argv[3], **results)
"""


def test_medslip_says_what_the_model_computes():
    config, images = dataclasses.replace(CONFIGS["medslip"], decoder_layers=2), images_of(2)
    variables = variables_of(config)
    books = tiny_books()
    served = serving_function(make_module(config), kind="medslip", variables=variables, books=books)(images)
    out = make_module(config).apply(variables, normalise(images), books.pathology, books.anatomy)
    shapes = {"pathology_probability": (2, 75), "pathology_attention": (2, 75, 2, 2)}
    shapes |= {"anatomy_probability": (2, 51), "anatomy_attention": (2, 51, 2, 2)}
    assert {name: x.shape for name, x in served.items()} == shapes
    for name in ("pathology", "anatomy"):
        weights = np.exp(np.asarray(out[name]["logits"], np.float64))
        np.testing.assert_allclose(served[f"{name}_probability"], weights[..., 1] / weights.sum(-1), atol=1e-6)
        attention = np.asarray(out[name]["attention"])  # b layers q n
        layers = (attention[:, 0] + attention[:, 1]) / 2
        # Cell (row, column) of the grid is patch 2 row + column.
        np.testing.assert_allclose(served[f"{name}_attention"][:, :, 1, 0], layers[:, :, 2], atol=1e-6)
        np.testing.assert_allclose(served[f"{name}_attention"].sum((2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize(("name", "output"), [("classifier", "probability"), ("segmenter", "mask_probability")])
def test_fine_tuned_models_give_sigmoids(name, output):
    config, images = CONFIGS[name], images_of(2)
    variables = variables_of(config)
    served = serving_function(make_module(config), kind=name, variables=variables)(images)
    logits = np.asarray(make_module(config).apply(variables, normalise(images)), np.float64)
    assert list(served) == [output]
    np.testing.assert_allclose(served[output], 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_single_stream_has_pathology_outputs_only():
    function = function_of(tiny_config(streams="pathology"))
    assert list(describe_arrays(function, SIZE)["outputs"]) == ["pathology_attention", "pathology_probability"]


def test_serves_in_float32_unless_asked():
    config, images = tiny_config(dtype="bfloat16"), images_of(2)
    served, wanted = function_of(config)(images), function_of(CONFIGS["medslip"])(images)
    narrow = function_of(config, dtype="bfloat16")(images)
    for name in wanted:
        np.testing.assert_array_equal(served[name], wanted[name])
        assert narrow[name].dtype == np.float32
    assert np.abs(narrow["pathology_probability"] - wanted["pathology_probability"]).max() > 1e-5


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("medslip", np.zeros((1, 32, 32), np.float32)),
        ("medslip", np.zeros((1, 32, 40), np.uint8)),
        ("medslip", np.zeros((1, 32, 32, 3), np.uint8)),
        ("medslip", np.zeros((1, 0, 0), np.uint8)),
        ("classifier", np.zeros((1, 48, 48), np.uint8)),
    ],
)
def test_unusable_images_are_named(kind, image):
    with pytest.raises(InputError, match=f"images: {image.dtype}.*{kind} takes uint8"):
        function_of(CONFIGS[kind])(image)


def test_text_tables_must_fit():
    config = CONFIGS["medslip"]
    for books, message in ((None, "none given"), (tiny_books(width=8), "width 8, but model.text_dim=12")):
        with pytest.raises(InputError, match=message):
            serving_function(make_module(config), kind="medslip", variables=variables_of(config), books=books)


@pytest.mark.parametrize("name", ["medslip", "classifier", "segmenter"])
def test_norms_of_the_trunk_are_folded(name):
    config = CONFIGS[name]
    module, variables, spec = make_module(config), variables_of(config), image_spec(SIZE)
    tables = [x for books in [tiny_books()] for x in (books.pathology, books.anatomy)] if name == "medslip" else []
    plain = jax.jit(lambda image: module.apply(variables, normalise(image), *tables)).lower(spec).as_text()
    program = jax.jit(function_of(config)).lower(spec).as_text()
    roots = "stablehlo.rsqrt"
    norms = sum(name.endswith("running_var") for name in to_torch(variables, config))
    assert plain.count(roots) - program.count(roots) == norms > 10
    # Softmax or sigmoid included, which only the serving function has.
    assert program.count(" stablehlo.") < plain.count(" stablehlo.") - 5 * norms


def test_stablehlo_runs_without_this_package(exported, tmp_path):
    images = {str(n): images_of(n) for n in (1, 3, 5)}
    np.savez(tmp_path / "images.npz", **images)
    command = [sys.executable, "-c", WITHOUT_US, exported["path"], tmp_path / "images.npz", tmp_path / "out.npz"]
    done = subprocess.run([str(x) for x in command], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = read_stablehlo(exported["path"])
    with np.load(tmp_path / "out.npz") as out:
        for size, image in images.items():
            for name, wanted in exported["function"](image).items():
                np.testing.assert_allclose(out[f"{size}/{name}"], wanted, atol=1e-5)
                np.testing.assert_allclose(here(image)[name], wanted, atol=1e-5)


def test_stablehlo_describes_itself(exported):
    metadata = read_stablehlo(exported["path"]).metadata
    assert metadata["kind"] == "medslip" and metadata["platforms"] == ["cpu", "cuda", "tpu"]
    assert metadata["inputs"] == {"image": {"shape": ["batch", 32, 32], "dtype": "uint8"}}
    assert metadata["outputs"]["anatomy_attention"] == {"shape": ["batch", 51, 2, 2], "dtype": "float32"}
    assert "jax.export.deserialize" in metadata["how_to_call"]


def test_stablehlo_has_no_date_and_no_path_in_it(exported, tmp_path):
    before = jax.config.jax_traceback_in_locations_limit
    write_stablehlo(tmp_path / "again.zip", function_of(CONFIGS["medslip"]))
    assert jax.config.jax_traceback_in_locations_limit == before > 0
    data = exported["path"].read_bytes()
    assert (tmp_path / "again.zip").read_bytes() == data
    assert b".py" not in data
    with zipfile.ZipFile(exported["path"]) as archive:
        assert {info.filename: info.compress_type for info in archive.infolist()} == {
            "metadata.json": zipfile.ZIP_STORED,
            "model.jax_export": zipfile.ZIP_STORED,
        }


@pytest.mark.parametrize(
    ("name", "output", "shape"),
    [("classifier", "probability", (3, 3)), ("segmenter", "mask_probability", (3, 32, 32, 2))],
)
def test_stablehlo_of_fine_tuned_models(name, output, shape, tmp_path):
    function, images = function_of(CONFIGS[name]), images_of(3)
    write_stablehlo(tmp_path / "model.zip", function)
    found = read_stablehlo(tmp_path / "model.zip")(images)
    assert {key: x.shape for key, x in found.items()} == {output: shape}
    assert 0 < found[output].min() < found[output].max() < 1  # so that numbers can disagree
    agree(found, function(images), atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "cannot be read .No such file"),
        ("truncated", "damaged, or not an exported model"),
        ("flipped", "damaged, or not an exported model"),
        ("not a zip", "damaged, or not an exported model"),
        ("another zip", "not an exported model .*metadata.json"),
        ("no program", "not an exported model .*model.jax_export"),
        ("not JSON", "damaged, or not an exported model"),
        ("not an object", "format None, but this version reads 1; update medslip_jax"),
        ("newer", "format 99, but this version reads 1; update medslip_jax"),
        ("other program", r"model.jax_export: written by a jax that it does not name, and jax [\d.]+ cannot read it"),
    ],
)
def test_unreadable_stablehlo_is_one_line(exported, tmp_path, damage, message):
    path, data = tmp_path / "model.zip", exported["path"].read_bytes()
    members = {
        "another zip": {"readme.txt": b""},
        "no program": {"metadata.json": b"{}"},
        "not JSON": {"metadata.json": b"{", "model.jax_export": b""},
        "not an object": {"metadata.json": b"[]", "model.jax_export": b""},
        "newer": {"metadata.json": b'{"format": 99}', "model.jax_export": b""},
        "other program": {"metadata.json": b'{"format": 1}', "model.jax_export": b"nonsense"},
    }
    middle = len(data) // 2
    whole = {
        "truncated": data[:middle],
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "not a zip": b"model",
    }
    if damage in whole:
        path.write_bytes(whole[damage])
    elif damage in members:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members[damage].items():
                archive.writestr(name, content)
    with pytest.raises(InputError, match=message) as caught:
        read_stablehlo(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_loaded_program_names_what_it_takes(exported):
    served = read_stablehlo(exported["path"])
    for image in (np.zeros((1, 64, 64), np.uint8), np.zeros((1, 32, 32), np.int32), np.zeros((0, 32, 32), np.uint8)):
        with pytest.raises(InputError, match=r"model.zip: got images .*takes uint8 \(batch, 32, 32\)"):
            served(image)


def test_missing_flatbuffers_is_named(exported, monkeypatch):
    def deserialize(data):
        raise ImportError("Please install 'flatbuffers'")

    monkeypatch.setattr(jax.export, "deserialize", deserialize)
    with pytest.raises(InputError, match="needs flatbuffers; `pip install flatbuffers`"):
        read_stablehlo(exported["path"])


def test_sizes_and_folders_are_checked_before_writing(tmp_path):
    function = function_of(CONFIGS["medslip"])
    with pytest.raises(InputError, match="sides divisible by 16"):
        write_zip(tmp_path / "model.zip", function=function, image_size=40, metadata={})
    with pytest.raises(InputError, match="cannot be written"):
        write_stablehlo(tmp_path / "no" / "model.zip", function)
    assert not list(tmp_path.iterdir())


def test_the_program_for_onnx_is_flat_and_pools_over_planes():
    function, images, spec = function_of(CONFIGS["classifier"]), images_of(2), image_spec(SIZE)
    # The inner jit makes it a program within the program.
    program = jax.make_jaxpr(jax.jit(function))(spec)
    flat = str(jax.make_jaxpr(onnx_export._flattened(program))(spec))
    calls = ("jit[", "custom_jvp_call[", "custom_vjp_call[", "cond[", "platform_index[")
    for text in ("window_dimensions=(1, 3, 3, 1)", *calls):
        assert text in str(program) and text not in flat
    assert "window_dimensions=(1, 3, 3)" in flat
    concrete = onnx_export._flattened(jax.make_jaxpr(function)(images))
    np.testing.assert_allclose(concrete(images)[0], function(images)["probability"], atol=1e-6)


@pytest.mark.parametrize("package", ["jax2onnx", "onnx"])
def test_missing_jax2onnx_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, "jax2onnx", types.ModuleType("jax2onnx"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package}; `pip install medslip_jax\[onnx\]`"):
        write_onnx(tmp_path / "model.onnx", function_of(CONFIGS["medslip"]))


@pytest.mark.onnx
def test_jax2onnx_without_an_operation_is_named(onnxruntime, tmp_path, monkeypatch):
    import jax2onnx

    def to_onnx(*args, **kwargs):
        raise NotImplementedError("[converter] No plugins registered for primitive 'stack'")

    monkeypatch.setattr(jax2onnx, "to_onnx", to_onnx)
    with pytest.raises(InputError, match=r"jax2onnx [\d.]+ lacks an operation .*'stack'.*; update it"):
        write_onnx(tmp_path / "model.onnx", function_of(CONFIGS["medslip"]))


@pytest.mark.onnx
def test_jax2onnx_for_another_jax_is_named(onnxruntime, tmp_path, monkeypatch):
    # An operation without its parameters is what a version with other names for them would find.
    monkeypatch.setattr(onnx_export, "_CALLS", (*onnx_export._CALLS, "add"))
    with pytest.raises(
        InputError, match=r"jax2onnx [\d.]+ does not work with jax [\d.]+ \(KeyError: 'jaxpr'\); install"
    ):
        write_onnx(tmp_path / "model.onnx", function_of(CONFIGS["classifier"]))


@pytest.mark.onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_onnx_computes_the_same(onnxruntime, tmp_path, name):
    function, path = function_of(CONFIGS[name]), tmp_path / "model.onnx"
    handlers = list(logging.root.handlers)
    write_onnx(path, function)
    assert logging.root.handlers == handlers and [x.name for x in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = describe_arrays(function, SIZE)
    for side, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        assert {x.name: x.shape for x in values} == {n: x["shape"] for n, x in arrays[side].items()}
    props = session.get_modelmeta().custom_metadata_map
    assert props["kind"] == "medslip" and json.loads(props["mean"]) == [0.5]
    assert {side: json.loads(props[side]) for side in arrays} == arrays
    for size in (1, 2, 5):
        agree(run_onnx(session, images_of(size)), function(images_of(size)), atol=1e-4)


@pytest.mark.onnx
@pytest.mark.slow
def test_full_model_computes_the_same_in_every_format(onnxruntime, tmp_path):
    config, arguments = MeDSLIPConfig(), {"image_size": 224, "metadata": {}}
    function = function_of(config)
    write_zip(tmp_path / "model.zip", function=function, **arguments)
    onnx_export.write_onnx(tmp_path / "model.onnx", function=function, **arguments)
    served = read_stablehlo(tmp_path / "model.zip")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    compiled = jax.jit(function)
    for size in (1, 2, 5):
        images = images_of(size, side=224)
        wanted = compiled(images)
        assert {n: x.shape[1:] for n, x in wanted.items()}["anatomy_attention"] == (51, 14, 14)
        agree(served(images), wanted, atol=1e-5)
        agree(run_onnx(session, images), wanted, atol=1e-4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict:
    """{"path": a tiny dual-stream model as StableHLO, "function": the same}."""
    path, function = tmp_path_factory.mktemp("exported") / "model.zip", function_of(CONFIGS["medslip"])
    write_stablehlo(path, function)
    return {"path": path, "function": jax.jit(function)}


@pytest.fixture
def onnxruntime():
    pytest.importorskip("jax2onnx", reason="needs jax2onnx: `pip install medslip_jax[onnx]`")
    return pytest.importorskip("onnxruntime", reason="needs onnxruntime: `pip install medslip_jax[onnx]`")


def variables_of(config) -> dict:
    """Weights by the golden recipe: unlike fresh ones, they make attention maps that are far from even."""
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract_variables(config))
    return from_torch(recipe_state({name: x.shape for name, x in to_torch(zeros, config).items()}), config)


def function_of(config, **options) -> ServingFunction:
    kind = kind_of(config)
    books = tiny_books(config.text_dim) if kind == "medslip" else None
    return serving_function(make_module(config), kind=kind, variables=variables_of(config), books=books, **options)


def images_of(size: int, *, side: int = SIZE) -> np.ndarray:
    return synthetic_batch(size, image_size=side, seed=size)["image"]


def write_stablehlo(path: Path, function: ServingFunction) -> None:
    write_zip(path, function=function, image_size=SIZE, metadata={"kind": "medslip", "mean": [0.5]})


def write_onnx(path: Path, function: ServingFunction) -> None:
    onnx_export.write_onnx(path, function=function, image_size=SIZE, metadata={"kind": "medslip", "mean": [0.5]})


def run_onnx(session, images: np.ndarray) -> dict[str, np.ndarray]:
    names = [x.name for x in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def agree(have: dict, wanted: dict, *, atol: float) -> None:
    assert set(have) == set(wanted)
    for name in wanted:
        assert have[name].dtype == np.float32
        np.testing.assert_allclose(have[name], wanted[name], rtol=0, atol=atol, err_msg=name)
