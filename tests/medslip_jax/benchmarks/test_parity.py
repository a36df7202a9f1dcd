"""The shipped numbers are those of the golden file, and what computes others does not pass."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from parity_file import PARITY, parity_arrays

from medslip_jax.benchmarks import parity


def test_the_shipped_file_is_of_the_golden_one():
    shipped, golden = parity.released_numbers(), parity_arrays()
    assert shipped.keys() == golden.keys()
    for name, value in golden.items():
        np.testing.assert_array_equal(shipped[name], value, err_msg=name)
    assert PARITY.stat().st_size < 300_000


def test_inputs_are_drawn_as_the_golden_ones(golden):
    arrays = golden("resnet50")
    drawn = parity.drawn_inputs(image_crc=int(parity.released_numbers()["image_crc"]))
    np.testing.assert_array_equal(drawn["image"], arrays["image"])
    for stream in ("pathology", "anatomy"):
        np.testing.assert_array_equal(drawn[stream], arrays[f"{stream}_book"])


def test_other_random_numbers_are_named():
    with pytest.raises(RuntimeError, match="draws other random numbers"):
        parity.drawn_inputs(image_crc=0)


@pytest.mark.slow
@pytest.mark.portable
def test_parity_of_this_machine():
    """With XLA's defaults, as the command computes: what makes the suite compile fast sums in another order."""
    code = "import json; from medslip_jax.benchmarks.parity import check_parity; print(json.dumps(check_parity()))"
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["passed"], found
    assert found["errors"].keys() == found["limits"].keys() and min(found["errors"].values()) > 0


@pytest.mark.parametrize("change", [1.01, np.nan])
@pytest.mark.parametrize("name", ["logits_anatomy", "losses", "gradient_norms"])
def test_a_device_that_computes_other_numbers_does_not_pass(monkeypatch, name, change):
    want = parity.released_numbers()
    outputs = [f"{kind}_{s}" for kind in ("logits", "features", "attention") for s in ("pathology", "anatomy")]
    got = {**want, "outputs": outputs, "compile_seconds": 1.0}
    monkeypatch.setattr(parity, "_computed", lambda *_: got)
    assert parity.check_parity()["passed"]
    got[name] = want[name] * change
    found = parity.check_parity()
    assert not found["passed"] and ("not finite" in found["errors"].values()) == np.isnan(change)
