"""The PyTorch model and the Flax model are the same function, and files are read strictly."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from places import GOLDEN, ROOT

from medslip_jax.errors import InputError
from medslip_jax.models import MeDSLIP as FlaxMeDSLIP
from medslip_jax.models import MeDSLIPConfig
from medslip_jax.step.train_step import normalise
from medslip_jax.storage.tensor_files import write_state
from medslip_jax.testing import recipe_state, tiny_books, tiny_config
from medslip_jax.text.books import centred, save_books
from medslip_jax.weights.torch.conversion import from_torch, to_torch

torch = pytest.importorskip("torch", reason="needs PyTorch")
from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess, probabilities  # noqa: E402

pytestmark = [pytest.mark.torch]

MANIFEST = json.loads((GOLDEN / "resnet50.manifest.json").read_text())
OUTPUTS = ("patches", "features", "logits", "projection", "attention")


@pytest.fixture(scope="module")
def released():
    return recipe_state(MANIFEST)


@pytest.fixture(scope="module")
def paper_model(released):
    model = MeDSLIP()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in released.items()}, strict=True)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def tiny_state():
    return _recipe(tiny_config())


def _recipe(config) -> dict[str, np.ndarray]:
    book, image = np.zeros((3, config.text_dim), np.float32), np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(FlaxMeDSLIP(config).init, jax.random.key(0), image, book, book)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return recipe_state({name: array.shape for name, array in to_torch(zeros, config).items()})


def _flax(state, config, image, books) -> dict:
    """`image` as PyTorch has it, B 3 H W."""
    apply = jax.jit(FlaxMeDSLIP(config).apply)
    return jax.device_get(apply(from_torch(state, config), np.transpose(image, (0, 2, 3, 1)), *books))


def _errors(got, want) -> dict[str, float]:
    """Per stream and output, the largest difference over the largest entry."""
    assert got.keys() == want.keys()
    errors = {}
    for stream, values in want.items():
        assert tuple(got[stream]) == OUTPUTS
        for name in OUTPUTS:
            a, b = got[stream][name].numpy(), np.asarray(values[name])
            assert a.shape == b.shape
            errors[f"{stream} {name}"] = float(np.abs(a - b).max() / np.abs(b).max())
    return errors


def _write(path, state, *, config=tiny_config(), tables="as_is", books=None) -> Path:
    write_state(path, state)
    info = {"kind": "medslip", "model": dataclasses.asdict(config), "books": {"tables": tables}}
    path.with_name(f"{path.name}.json").write_text(json.dumps(info))
    if books is not None:
        save_books(books, path=path.with_name(f"{path.name}.books.npz"))
    return path


def _scores(model, books) -> np.ndarray:
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32))
    given = [torch.from_numpy(table) for table in (books.pathology, books.anatomy)] if books else []
    with torch.no_grad():
        return model(image, *given)["pathology"]["logits"].numpy()


def test_names_order_and_shapes_are_the_released_ones(paper_model):
    got = [(name, list(tensor.shape)) for name, tensor in paper_model.state_dict().items()]
    assert got == list(MANIFEST.items())
    assert sum(p.numel() for p in paper_model.parameters()) == 21_237_572


def test_golden_outputs(paper_model, golden):
    arrays = golden("resnet50")
    books = (torch.from_numpy(arrays[f"{stream}_book"]) for stream in ("pathology", "anatomy"))
    out = paper_model(torch.from_numpy(arrays["image"].astype(np.float32)), *books)
    for stream in ("pathology", "anatomy"):
        for name, limit in {"patches": 1e-4, "features": 2e-5, "logits": 2e-5, "attention": 2e-5}.items():
            error = np.abs(out[stream][name].numpy() - arrays[f"eval/{name}_{stream}"]).max()
            print(f"{stream} {name}: {error:.1e}")
            assert error <= limit, (stream, name)


@pytest.mark.real
def test_agrees_with_flax_on_real_xrays(paper_model, released, golden, cxr_sample):
    """Seven radiographs of four sources, one a DICOM file, and the whole ResNet-50 model."""
    from data_pipelines.images import read_grey, squash

    sources = [sorted((cxr_sample / "images" / source).iterdir()) for source in ("nih", "mhh", "ieee8023")]
    files = [source[i] for source in sources for i in (0, -1)] + [cxr_sample / "dicom" / "rsna_16d7f894.dcm"]
    grey = np.stack([squash(read_grey(file), 224) for file in files])
    image = preprocess(grey)
    np.testing.assert_allclose(image.numpy(), np.transpose(normalise(grey), (0, 3, 1, 2)), atol=1e-6)
    books = [golden("resnet50")[f"{stream}_book"] for stream in ("pathology", "anatomy")]
    out = paper_model(image, *map(torch.from_numpy, books))
    errors = _errors(out, _flax(released, MeDSLIPConfig(), image.numpy(), books))
    print({name: f"{error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= 1e-4, errors


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backbone": "resnet50"},
        {"mask_activation": "sigmoid"},
        {"mask_activation": "off"},
        {"share_query_projection": False},
        {"patch_norm": "layer_norm"},
        {"streams": "pathology"},
        {"streams": "pathology", "share_query_projection": False, "patch_norm": "layer_norm"},
    ],
    ids=lambda changes: ",".join(f"{k}={v}" for k, v in changes.items()) or "default",
)
def test_every_option_agrees_with_flax(changes, tmp_path):
    """Not a square image, so that rows and columns of patches cannot be exchanged unseen."""
    config = tiny_config(**changes)
    state = _recipe(config)
    model = MeDSLIP.from_file(_write(tmp_path / "m.pth", state, config=config))
    image = np.random.default_rng(0).standard_normal((2, 3, 48, 80), np.float32)
    books = [tiny_books().pathology[:5], tiny_books().anatomy[:4]]
    errors = _errors(model(torch.from_numpy(image), *books), _flax(state, config, image, books))
    print({name: f"{error:.1e}" for name, error in errors.items()})
    assert max(errors.values()) <= 1e-4, errors


def test_preprocess_and_probabilities():
    image = preprocess(np.full((2, 3, 5), 255, np.uint8))
    assert image.shape == (2, 3, 3, 5)
    np.testing.assert_allclose(image[0, :, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    logits = torch.tensor([[[0.0, 0.0], [0.0, np.log(3.0)]]])
    np.testing.assert_allclose(probabilities({"anatomy": {"logits": logits}})["anatomy"], [[0.5, 0.75]], rtol=1e-6)
    with pytest.raises(InputError, match=r"torch.float32 \(2, 3, 5\); expected grey uint8"):
        preprocess(torch.zeros(2, 3, 5))


@pytest.mark.parametrize("tables", ["as_is", "centred"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_books_beside_the_weights_are_prepared_as_in_training(tables, suffix, tiny_state, tmp_path):
    path = _write(tmp_path / f"m{suffix}", tiny_state, tables=tables, books=tiny_books())
    model = MeDSLIP.from_file(path)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.state_dict().keys() == tiny_state.keys()
    expected = centred(tiny_books()) if tables == "centred" else tiny_books()
    assert np.array_equal(_scores(model, None), _scores(model, expected))


def test_books_of_ones_own(tiny_state, tmp_path):
    save_books(tiny_books(), path=tmp_path / "own.npz")
    path = _write(tmp_path / "m.pth", tiny_state, tables="centred")
    model = MeDSLIP.from_file(path, books=tmp_path / "own.npz")
    assert np.array_equal(_scores(model, None), _scores(model, centred(tiny_books())))


def test_save_pretrained_directory(tiny_state, tmp_path):
    write_state(tmp_path / "model.safetensors", tiny_state)
    config = tiny_config(dropout=0.2, linear_init="xavier", dtype="bfloat16")
    info = {"kind": "medslip", "model": dataclasses.asdict(config)}
    (tmp_path / "config.json").write_text(json.dumps(info))
    save_books(tiny_books(), path=tmp_path / "books.npz")
    model = MeDSLIP.from_file(tmp_path)
    assert np.array_equal(_scores(model, None), _scores(model, tiny_books()))


def test_bare_released_file_with_ddp_prefix_and_old_name(released, tmp_path):
    old = {f"module.{n.replace('pathology_embedding', 'disease_embedding')}": a for n, a in released.items()}
    write_state(tmp_path / "old.pth", old)
    state = MeDSLIP.from_file(tmp_path / "old.pth").state_dict()
    assert list(state) == list(released)
    assert all(np.array_equal(state[name], array) for name, array in released.items())


def _without(state, name):
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: _without(s, "cl_fc_anatomy.bias"), r"m\.pth: .*: 1 missing \(cl_fc_anatomy\.bias\)"),
        (lambda s: s | {"extra": np.zeros(3)}, r"m\.pth: .*: 1 unexpected \(extra\)"),
        (
            lambda s: s | {"mask_generator.bias": np.zeros(7)},
            r"shape mismatch \(mask_generator\.bias \(7,\), expected \(32,\)\)",
        ),
        (lambda s: s | {"module.cl_fc_anatomy.bias": np.ones(12)}, r"m\.pth: .*some tensors are there twice"),
        (lambda s: s | {"decoder_anatomy.norm.bias": np.ones(16)}, r"decoder_anatomy\.norm\.bias differs"),
        (
            lambda s: {"w": np.zeros(2)},
            r"missing \(pathology_embedding_layer\.weight; .*; and \d+ more\), 1 unexpected \(w\); 0 fit$",
        ),
    ],
    ids=["missing", "unexpected", "shape", "twice", "shared norm", "another model"],
)
def test_weights_must_fit(change, message, tiny_state, tmp_path):
    path = _write(tmp_path / "m.pth", change(tiny_state))
    with pytest.raises(InputError, match=message):
        MeDSLIP.from_file(path)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"kind": "classifier"}, r"m\.pth\.json: describes a model of kind 'classifier'"),
        ({"model": {"backbone": "vit"}}, r"m\.pth\.json: model\.backbone='vit': must be one of resnet50, resnet18"),
        ({"model": {"decoder_layers": "4"}}, r"model\.decoder_layers='4': must be an integer"),
        ({"model": {"decoder_heads": 3}}, r"decoder_heads=3 does not divide model\.embed_dim=256"),
        ({"model": {"registers": 4}}, r"m\.pth\.json: model: unknown keys registers; it has: backbone, "),
        ({"model": 3}, "model is 3; expected an object"),
        ({"books": {"tables": "whitened"}}, r"books\.tables='whitened': must be one of as_is, centred"),
    ],
)
def test_description_must_fit(info, message, tmp_path):
    (tmp_path / "m.pth.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=message):
        MeDSLIP.from_file(tmp_path / "m.pth")


def test_missing_and_foreign_books(tiny_state, tmp_path):
    path = _write(tmp_path / "m.pth", tiny_state)
    model = MeDSLIP.from_file(path)
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(InputError, match=r"pathology_book: no text table .*from_file\(..., books=...\)"):
        model(image)
    with pytest.raises(InputError, match=r"anatomy_book: shape \(51, 9\), expected \(queries, 12\)"):
        model(image, torch.zeros(75, 12), torch.zeros(51, 9))
    save_books(tiny_books(width=9), path=tmp_path / "own.npz")
    with pytest.raises(InputError, match=r"own\.npz: text tables of width 9; the model needs 12"):
        MeDSLIP.from_file(path, books=tmp_path / "own.npz")


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.pth: no such file"):
        MeDSLIP.from_file(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_jax_is_not_imported(suffix, tiny_state, tmp_path):
    path = _write(tmp_path / f"m{suffix}", tiny_state, books=tiny_books())
    code = (
        "import sys, numpy as np; from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess; "
        f"MeDSLIP.from_file({str(path)!r})(preprocess(np.zeros((1, 32, 32), np.uint8))); "
        "sys.exit(f'imported {bad}' if (bad := {'jax', 'flax', 'torchvision'} & set(sys.modules)) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_without_pytorch_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n  import medslip_jax.weights.torch.torch_model\n"
        "except ImportError as error:\n  print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "medslip_jax.weights.torch.torch_model needs PyTorch; `pip install medslip_jax[torch]`"
