import json
import zipfile

import numpy as np
import pytest

from medslip_jax.cli import main
from medslip_jax.models import MeDSLIP
from medslip_jax.models.kinds import initial_variables
from medslip_jax.testing import synthetic_batch, tiny_books, tiny_config
from medslip_jax.vocabulary import PATHOLOGIES
from medslip_jax.weights.export.stablehlo import read_stablehlo
from medslip_jax.weights.export.versions import written_with
from medslip_jax.weights.loading import load

pytestmark = pytest.mark.portable


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model") / "m"
    config = tiny_config()
    MeDSLIP(config).save_pretrained(
        directory,
        variables=initial_variables(config),
        books=tiny_books(),
        info={"books": {"tables": "centred"}},
        license="cc0-1.0",
    )
    return directory


def test_stablehlo_says_what_the_model_says(saved, tmp_path, capsys):
    to = tmp_path / "m.zip"
    assert main.main(["export", f"--from={saved}", f"--to={to}", "--image_size=64", "--platforms=cpu"]) == 0
    assert capsys.readouterr().out.endswith(f"; uint8 (batch, 64, 64) in; {written_with()['promise']}\n")
    pretrained, served, images = load(saved)["pretrained"], read_stablehlo(to), synthetic_batch(3)["image"]
    logits = np.asarray(pretrained(images)["pathology"]["logits"])
    want = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    np.testing.assert_allclose(served(images)["pathology_probability"], want, atol=1e-6)
    with zipfile.ZipFile(to) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert metadata["classes"]["pathology"] == list(PATHOLOGIES)
    assert metadata["preprocessing"]["image_size"] == 64 and "bicubic" in metadata["preprocessing"]["resize"]
    assert (metadata["license"], metadata["books"]["tables"], metadata["platforms"]) == ("cc0-1.0", "centred", ["cpu"])


@pytest.mark.onnx
def test_onnx_carries_the_same_metadata(saved, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime; pip install medslip_jax[onnx]")
    pytest.importorskip("jax2onnx", reason="needs jax2onnx; pip install medslip_jax[onnx]")
    to = tmp_path / "m.onnx"
    assert main.main(["export", f"--from={saved}", f"--to={to}", "--image_size=64"]) == 0
    session, images = onnxruntime.InferenceSession(to), synthetic_batch(2)["image"]
    (probability,) = session.run(["pathology_probability"], {"image": images})
    logits = np.asarray(load(saved)["pretrained"](images)["pathology"]["logits"])
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(logits[..., 0] - logits[..., 1])), atol=1e-5)
    stored = session.get_modelmeta().custom_metadata_map
    assert json.loads(stored["preprocessing"])["image_size"] == 64
    assert json.loads(stored["classes"])["pathology"] == list(PATHOLOGIES)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to={dir}/m.bin"], "end it with .zip"),
        (["--to={dir}/old.zip"], "is there already"),
        (["--to={dir}/m.zip", "--platforms=cpu,abacus"], "--platforms cpu,abacus: expected some of"),
        (["--to={dir}/m.zip", "--image_size=100"], "sides divisible by 16"),
        (["--to={dir}/m.zip", "--image_size=0"], "sides divisible by 16"),
        (["--to={dir}/m.onnx", "--dtype=bfloat16"], "--dtype bfloat16: belongs to StableHLO"),
        (["--to={dir}/m.onnx", "--platforms=cpu"], "--platforms cpu: belongs to StableHLO"),
        (["--to={dir}/none/m.zip", "--image_size=64"], "cannot be written"),
    ],
)
def test_bad_input_writes_nothing(flags, message, saved, tmp_path, capsys):
    (tmp_path / "old.zip").write_text("old")
    assert main.main(["export", f"--from={saved}", *(flag.format(dir=tmp_path) for flag in flags)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.zip"]
    assert (tmp_path / "old.zip").read_text() == "old"
