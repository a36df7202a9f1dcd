"""Settings of the whole suite: CPU, no silent rank promotion, and where golden files and real X-rays are."""

import os
import signal
import tempfile
import threading
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from fast_compiling import xla_flags
from places import CONFIGS, GOLDEN, SHARED
from versions_table import pytest_terminal_summary  # noqa: F401  (pytest finds its hooks here)

# Before JAX is imported, and inherited by the processes that tests start: a program that many tests need is compiled
# once a session.
_CACHE = tempfile.TemporaryDirectory(prefix="medslip_xla_")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# A shell's background job ignores SIGINT, and so would all processes that tests start.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
# `XLA_FLAGS= pytest ...` has XLA's defaults, which .ci/run gives to the tests that compare numbers. xdist's workers
# inherit what is asked for here once.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = xla_flags()

# By default an example that takes more than 0.2 seconds is a failure.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Whatever is compared with numbers of the released code is compared on every Python."""
    for item in items:
        if "golden" in item.fixturenames:
            item.add_marker("portable")


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    import jax

    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def golden():
    """name -> the arrays of tests/golden/<name>.npz."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as file:
            return dict(file)

    return load


@pytest.fixture
def torch():
    """The module; tests that need it are skipped without it."""
    return pytest.importorskip("torch", reason="needs PyTorch; pip install medslip_jax[torch]")


@pytest.fixture(scope="session")
def cxr_sample() -> Path:
    """The real X-rays that lie beside the checkout; tests that need them are skipped where they do not."""
    directory = SHARED / "cxr_sample"
    if not (directory / "labels.csv").exists():
        pytest.skip(f"{directory} is not here: real X-rays are not part of the repository (licences)")
    return directory


@pytest.fixture(scope="session")
def phantom_data(tmp_path_factory) -> Path:
    """A data directory with a small phantom set: 24 / 8 / 16 images of 64 pixels."""
    from data_pipelines.datasets.building.build import build
    from data_pipelines.datasets.phantom import PhantomOptions

    out = tmp_path_factory.mktemp("phantom_data")
    build("phantom", out=out, options=PhantomOptions(train=24, validation=8, test=16, size=64), workers=1)
    return out


@pytest.fixture(scope="session")
def new_tiny_run(phantom_data):
    """Makes configs that train in seconds on `phantom_data`."""
    from medslip_jax import experiment

    def make():
        config = experiment.load_config([f"--config={CONFIGS / 'phantom.py'}:tiny"])
        config.data.dir = str(phantom_data)
        config.data.image_size = 32
        config.model.trunk_width, config.model.embed_dim = 8, 16
        config.model.decoder_ffn_dim, config.model.decoder_layers = 32, 1
        return config

    return make


@pytest.fixture
def tiny_run(new_tiny_run):
    """One of them, for this test alone."""
    return new_tiny_run()
