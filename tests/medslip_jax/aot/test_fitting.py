import pytest
from hypothesis import given
from hypothesis import strategies as st

from medslip_jax.aot.compiled import Attempt
from medslip_jax.aot.fitting import estimate, largest_batch, round_batch

LIMIT = 100.0


def attempt(per_chip: int, needs: float | None) -> Attempt:
    program = {} if needs is not None and needs <= LIMIT else None
    return Attempt(per_chip=per_chip, seconds={}, program=program, needs=needs, limit=LIMIT)


def linear(offset: float, slope: float):
    return lambda per_chip: attempt(per_chip, offset + slope * per_chip)


def test_a_line_by_hand():
    # 20 + n / 2: 256 images need 148, and 160 just fit.
    compile_at = linear(20, 0.5)
    found = largest_batch(compile_at(256), compile_at=compile_at)
    assert [t["per_chip"] for t in found["tries"]] == [256, 152]
    assert found["compiled"] == 152
    assert found["estimate"] == 160


def test_verifying_compiles_the_estimate():
    compile_at = linear(20, 0.5)
    found = largest_batch(compile_at(256), compile_at=compile_at, verify=True)
    assert (found["compiled"], found["estimate"]) == (160, 160)
    assert [t["per_chip"] for t in found["tries"]] == [256, 152, 160]


def test_verifying_goes_down_where_the_line_was_too_hopeful():
    needs = {256: 148.0, 152: 90.0, 168: 104.0, 160: 97.0}
    found = largest_batch(attempt(256, 148), compile_at=lambda n: attempt(n, needs[n]), verify=True)
    assert [t["per_chip"] for t in found["tries"]] == [256, 152, 168, 160]
    assert found["compiled"] == 160


def test_nothing_fits():
    compile_at = linear(400, 1)
    found = largest_batch(compile_at(8), compile_at=compile_at, verify=True)
    assert (found["compiled"], found["estimate"]) == (None, None)


def test_a_try_that_says_nothing():
    found = largest_batch(attempt(256, 148), compile_at=lambda n: attempt(n, None))
    assert (found["compiled"], found["estimate"]) == (None, None)


def test_batches_stay_multiples():
    compile_at = linear(20, 0.5)
    found = largest_batch(compile_at(252), compile_at=compile_at, verify=True, multiple=12)
    assert all(t["per_chip"] % 12 == 0 for t in found["tries"])
    assert found["compiled"] == 144
    assert [round_batch(n, multiple=12) for n in (47, 25, 11)] == [24, 24, 0]


@pytest.mark.parametrize(("images", "rounded"), [(161.9, 160), (8, 8), (7.5, 7), (0.5, 0), (-3, 0)])
def test_rounding(images, rounded):
    assert round_batch(images) == rounded


@given(st.floats(0, 90), st.floats(0.01, 5), st.integers(9, 2000))
def test_on_a_line_the_estimate_fits_and_the_next_step_does_not(offset, slope, per_chip):
    compile_at = linear(offset, slope)
    if compile_at(per_chip).fits:
        return
    found = largest_batch(compile_at(per_chip), compile_at=compile_at, verify=True)
    assert len(found["tries"]) <= 5
    best = found["compiled"]
    assert best is None or compile_at(best).fits
    if best is not None and best >= 8:
        assert best + 8 > per_chip - 1 or (best + 8) * slope + offset > LIMIT * (1 - 1e-6)


def test_the_estimate_stays_between_what_fits_and_what_does_not():
    tries = [attempt(64, 200), attempt(32, 99.9), attempt(24, 99.8)]
    assert 32 <= estimate(tries) < 64
