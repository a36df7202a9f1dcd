"""The examples in the docstrings of both packages are true."""

import doctest
import importlib
import pkgutil

import pytest

import data_pipelines
import medslip_jax

# module -> why it is not imported here.
_SKIPPED = {
    "medslip_jax.weights.torch.torch_model": "needs PyTorch, extra [torch]",
    "medslip_jax.demo_page.page": "needs Gradio, extra [demo]",
    "medslip_jax.benchmarks.torch_step": "needs PyTorch, extra [torch]",
    "medslip_jax.benchmarks.torch_device": "needs PyTorch, extra [torch]",
    "data_pipelines.datasets.building.beam": "needs Apache Beam, extra [beam]",
}
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_FINDER = doctest.DocTestFinder(exclude_empty=True)


def _names() -> list[str]:
    found = []
    for package in (medslip_jax, data_pipelines):
        found.append(package.__name__)
        found += [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return found


def _tests_of(name: str) -> list[doctest.DocTest]:
    return [test for test in _FINDER.find(importlib.import_module(name), name) if test.examples]


MODULES = [name for name in _names() if name not in _SKIPPED]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    runner = doctest.DocTestRunner(optionflags=_OPTIONS)
    said = []
    for test in _tests_of(name):
        runner.run(test, out=said.append)
    assert not runner.summarize(verbose=False).failed, "".join(said)


def test_there_are_examples():
    assert sum(len(test.examples) for name in MODULES for test in _tests_of(name)) >= 60


def test_what_is_skipped_is_there():
    assert set(_SKIPPED) <= set(_names()), "a module was renamed: change it in _SKIPPED as well"
