"""constraints/pythonX.Y.txt: each fits setup.py and has all that it requires."""

import importlib.metadata
import importlib.util

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

from medslip_jax.doctor.packages import PACKAGE

FILES = sorted((ROOT / "constraints").glob("python*.txt"))


@pytest.fixture(scope="module")
def make():
    """The module constraints/make.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("make_constraints", ROOT / "constraints" / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def required() -> list[Requirement]:
    """What setup.py requires without extras, as pip has noted it."""
    found = map(Requirement, importlib.metadata.requires(PACKAGE))
    return [need for need in found if need.marker is None]


def test_there_is_one_for_each_python():
    assert [file.stem for file in FILES] == ["python3.11", "python3.12", "python3.13"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_fits_setup(file, make):
    versions = make.read(file)
    assert len(required()) > 20
    for need in required():
        assert need.specifier.contains(versions[canonicalize_name(need.name)]), need
    assert versions["jax"] == versions["jaxlib"]


@pytest.mark.portable
def test_lists_what_is_installed(make, tmp_path):
    found = make.installed()
    assert {canonicalize_name(need.name) for need in required()} <= found.keys()
    assert "pytest" not in found and "medslip-jax" not in found
    (tmp_path / "some.txt").write_text(make.text(found))
    assert make.read(tmp_path / "some.txt") == found
