"""Strict matching of names and shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medslip_jax.errors import InputError
from medslip_jax.storage.matching import check_finite, match, shapes_of, some

HAVE = {"trunk.a": (2, 3), "trunk.b": (4,), "head.w": (5,), "extra": ()}
WANT = {"trunk.a": (2, 3), "trunk.b": (7,), "head.w": (5,), "head.b": (1,)}


def test_one_of_each_by_hand():
    report = match(HAVE, WANT)
    assert report.loaded == ("trunk.a", "head.w")
    assert report.missing == ("head.b",)
    assert report.unexpected == ("extra",)
    assert report.mismatched == ("trunk.b (4,), expected (7,)",)
    assert report.unfilled == {"head.b", "trunk.b"}
    assert report.lines() == [
        "loaded: 2",
        "missing: 1 (0 excused): head.b",
        "unexpected: 1 (0 excused): extra",
        "shape mismatch: 1 (0 excused): trunk.b (4,), expected (7,)",
    ]
    message = r"^x: 1 missing \(head.b\), 1 unexpected \(extra\), 1 shape mismatch \(trunk.b .*\); 2 fit$"
    with pytest.raises(InputError, match=message):
        report.check("x")


def test_excused_by_name_and_by_star():
    report = match(HAVE, WANT, excuse=["head.*", "extra", "trunk.b"])
    assert report.excused == {"head.b", "extra", "trunk.b"}
    assert report.lines()[1] == "missing: 1 (1 excused): head.b"
    report.check("x")


def test_what_is_left_over_is_named_alone():
    with pytest.raises(InputError, match=r"^x: 1 unexpected \(extra\); 2 fit$"):
        match(HAVE, WANT, excuse=["head.b", "trunk.b"]).check("x")


@pytest.mark.parametrize("idle", ["trunk.a", "*.weight", "Extra"], ids=["fits", "nothing like it", "case"])
def test_an_excuse_for_nothing_is_refused(idle):
    report = match({"trunk.a": (1,)}, {"trunk.a": (1,)}, excuse=[idle])
    assert report.idle == (idle,)
    with pytest.raises(InputError, match="nothing to excuse is called"):
        report.check("x")


def test_long_lists_are_cut():
    assert some(["a", "b"]) == "a; b"
    assert some(list("abcdef")) == "a; b; c; d; and 2 more"


_NAMES = st.text("ab.", min_size=1, max_size=3)
_SHAPES = st.dictionaries(_NAMES, st.lists(st.integers(0, 2), max_size=2).map(tuple))


@given(have=_SHAPES, want=_SHAPES, excuse=st.lists(_NAMES | st.just("a*"), max_size=2))
def test_every_name_is_in_one_place(have, want, excuse):
    report = match(have, want, excuse=excuse)
    differ = [line.split(" ")[0] for line in report.mismatched]
    assert sorted([*report.loaded, *report.missing, *differ]) == sorted(want)
    assert sorted([*report.loaded, *report.unexpected, *differ]) == sorted(have)
    assert all(have[name] == want[name] for name in report.loaded)
    assert report.excused.isdisjoint(report.loaded)
    perfect = have == want and not excuse
    assert not perfect or report.check("x") is None


def test_order_is_the_targets():
    report = match({"b": (), "a": ()}, {"a": (), "b": (), "z": (), "y": ()})
    assert report.loaded == ("a", "b") and report.missing == ("z", "y")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_named(value):
    arrays = {"fine": np.ones(3), "bad": np.array([1, value], np.float32), "count": np.array(3)}
    with pytest.raises(InputError, match=r"^x: 1 tensors hold NaN or infinity \(bad\)"):
        check_finite(arrays, where="x")
    check_finite({"fine": arrays["fine"], "count": arrays["count"]}, where="x")


def test_shapes_of():
    assert shapes_of({"a": np.zeros((2, 3)), "b": np.array(1)}) == {"a": (2, 3), "b": ()}
