"""Settings of the whole suite: CPU, no silent rank promotion, and where golden files and real X-rays are."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"


@pytest.fixture(autouse=True)
def _no_rank_promotion():
    import jax

    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def golden():
    """name -> the arrays of tests/golden/<name>.npz."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(HERE / "golden" / f"{name}.npz") as file:
            return dict(file)

    return load


@pytest.fixture(scope="session")
def cxr_sample() -> Path:
    """The real X-rays that lie beside the checkout; tests that need them are skipped where they do not."""
    directory = SHARED / "cxr_sample"
    if not (directory / "labels.csv").exists():
        pytest.skip(f"{directory} is not here: real X-rays are not part of the repository (licences)")
    return directory
