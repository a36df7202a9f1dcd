"""Exported programs between versions of jax, with files that three of them wrote (tests/golden/exported_jax_*.zip).

`write_stablehlo` wrote them: 0.10.2 a tiny model, the others the mean of an image (sides 32 pixels).
"""

import dataclasses
import datetime
import json
import zipfile
from pathlib import Path

import jax
import jax.export
import jaxlib
import numpy as np
import pytest
from packaging.version import Version
from places import GOLDEN

from medslip_jax.errors import InputError
from medslip_jax.weights.export import versions
from medslip_jax.weights.export.stablehlo import read_stablehlo, write_stablehlo
from medslip_jax.weights.export.versions import RELEASED, release_day, unreadable, written_with

FILES = GOLDEN
HERE = jax.__version__
pytestmark = pytest.mark.portable


def test_a_file_of_0_10_2_gives_the_same_numbers(golden):
    path, wanted = FILES / "exported_jax_0.10.2.zip", golden("exported_jax_0.10.2")
    released = release_day(jaxlib.__version__)
    promised = json.loads(zipfile.ZipFile(path).read("metadata.json"))["written_with"]["readable_by_releases_until"]
    assert promised == "2026-12-17"
    if released is None or released > datetime.date.fromisoformat(promised):
        try:
            read_stablehlo(path)
        except InputError as error:
            assert "written by jax 0.10.2, too old for jax" in str(error)
            pytest.skip(f"jax {HERE} came after the promise; a newer jax has to write this file anew")
    served = read_stablehlo(path)
    image = wanted.pop("image")
    outputs = served(image)
    assert set(outputs) == set(wanted) == {"pathology_probability", "pathology_attention"}
    for name, values in wanted.items():
        assert values.std() > 1e-3  # so that numbers can disagree
        np.testing.assert_allclose(outputs[name], values, rtol=0, atol=1e-5, err_msg=name)


def test_a_file_that_is_too_old_is_one_line():
    path = FILES / "exported_jax_0.8.0.zip"
    if not hasattr(jax.config, "jax_export_deserialize_expired_versions"):  # this jax does not look at the age
        image = np.full((2, 32, 32), 7, np.uint8)
        np.testing.assert_array_equal(read_stablehlo(path)(image)["mean"], [7, 7])
        return
    with pytest.raises(InputError) as caught:
        read_stablehlo(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: model.jax_export: written by jax 0.8.0, too old for jax {HERE} (")
    assert line.endswith("export it again from its checkpoint with `medslip export`, or read it with jax 0.8.0")
    assert "6-month" in line and "\n" not in line


def test_a_file_that_is_too_new_is_one_line():
    path = FILES / "exported_jax_0.12.0.1.zip"
    if Version(HERE) >= Version("0.11"):
        image = np.full((2, 32, 32), 7, np.uint8)
        np.testing.assert_array_equal(read_stablehlo(path)(image)["mean"], [7, 7])
        return
    with pytest.raises(InputError) as caught:
        read_stablehlo(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: model.jax_export: written by jax 0.12.0.1, too new for jax {HERE} (")
    assert line.endswith(f"update jax to 0.12.0.1, or export it again with `medslip export` under jax {HERE}")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("convention", "writer", "message"),
    [
        (8, "0.4.30", "written by jax 0.4.30, too old for jax {here} (it calls by convention 8, this jax by {range})"),
        (99, "99.0", "written by jax 99.0, too new for jax {here} (it calls by convention 99, this jax by {range})"),
        (8, HERE, "written by jax {here}, and jax {here} cannot read it (it calls by convention 8"),
        (8, None, "written by a jax that it does not name, and jax {here} cannot read it (it calls by convention 8"),
        (8, "1\n2", "written by a jax that it does not name"),
        (8, ["1.2"], "written by a jax that it does not name"),
    ],
)
def test_another_calling_convention_is_one_line(mean, tmp_path, convention, writer, message):
    with zipfile.ZipFile(mean) as archive:
        metadata, program = json.loads(archive.read("metadata.json")), archive.read("model.jax_export")
    program = jax.export.deserialize(bytearray(program))
    metadata["written_with"] = {"jax": writer}
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        changed = dataclasses.replace(program, calling_convention_version=convention)
        archive.writestr("model.jax_export", bytes(changed.serialize()))
    with pytest.raises(InputError) as caught:
        read_stablehlo(tmp_path / "model.zip")
    least = jax.export.minimum_supported_calling_convention_version
    most = jax.export.maximum_supported_calling_convention_version
    assert message.format(here=HERE, range=f"{least} to {most}") in str(caught.value)
    assert "\n" not in str(caught.value) and "export it again" in str(caught.value)


def test_a_file_says_what_wrote_it(mean):
    written = read_stablehlo(mean).metadata["written_with"]
    convention = read_stablehlo(mean).program.calling_convention_version
    assert written == written_with() | {"calling_convention_version": convention}
    assert (written["jax"], written["jaxlib"]) == (HERE, jaxlib.__version__)
    assert written["promise"].startswith(f"written by jax {HERE}; JAX promises that its releases ")


def test_the_promise_is_six_months_of_releases(monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.12.0.1")
    known = written_with()
    assert (known["jaxlib_released"], known["readable_by_releases_until"]) == ("2026-10-21", "2027-04-21")
    assert known["promise"].endswith("JAX promises that its releases until 2027-04-21 read it")
    monkeypatch.setattr(jaxlib, "__version__", "77.0")
    unknown = written_with()
    assert unknown["jaxlib_released"] is unknown["readable_by_releases_until"] is None
    assert unknown["promise"].endswith("its releases of the 6 months after jaxlib 77.0 read it")


def test_release_days_are_in_the_order_of_versions():
    assert list(RELEASED) == sorted(RELEASED, key=versions._numbers)
    assert list(RELEASED.values()) == sorted(RELEASED.values())


def test_a_release_day_is_named_for_a_file_that_is_too_old(monkeypatch):
    monkeypatch.setattr(jax, "__version__", "77.0")
    line = unreadable({"written_with": {"jax": "0.10.2"}}, "some\nreason")
    assert line.startswith("written by jax 0.10.2 of 2026-06-17, too old for jax 77.0 (some reason); ")


@pytest.fixture(scope="module")
def mean(tmp_path_factory) -> Path:
    """The mean of an image, written by the installed jax."""
    path = tmp_path_factory.mktemp("exported") / "mean.zip"
    function = lambda image: {"mean": image.astype(np.float32).mean((1, 2))}  # noqa: E731
    write_stablehlo(path, function=function, image_size=32, metadata={"kind": "mean"})
    return path
