"""Where a step's time goes, worked by hand; and of a real step on this machine."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medslip_jax.benchmarks.traced import describe, seconds_of_operations, trace_step

PROGRAM = """HloModule jit_step

%fused_computation (p: f32[8,8]) -> f32[8,8] {
  %p = f32[8,8]{1,0} parameter(0)
  ROOT %d = f32[8,8]{1,0} dot(%p, %p), metadata={op_name="jit(train_step)/jvp(MeDSLIP)/trunk/layer1_0/c/dot_general"}
}

%fused_computation.1 (q: f32[8,8]) -> f32[8,8] {
  %q = f32[8,8]{1,0} parameter(0)
  ROOT %t = f32[8,8]{0,1} transpose(%q), dimensions={1,0}
}

ENTRY %main (a: f32[8,8]) -> f32[8,8] {
  %a = f32[8,8]{1,0} parameter(0)
  %product = f32[8,8]{1,0} fusion(%a), kind=kCustom, calls=%fused_computation
  %turned = f32[8,8]{0,1} fusion(%product), kind=kLoop, calls=%fused_computation.1
  %r = f32[8,8]{1,0} add(%turned, %a), metadata={op_name="jit(train_step)/transpose(jvp(MeDSLIP))/trunk/cond/add"}
  %loss = f32[8,8]{1,0} exponential(%r), metadata={op_name="jit(train_step)/jvp()/exp"}
  %g = f32[8,8]{1,0} custom-call(%a, %a), custom_call_target="__cublas$gemm"
  %sum = f32[8,8]{1,0} all-reduce(%g), to_apply=%add
  ROOT %adam = f32[8,8]{1,0} add(%sum, %loss), metadata={op_name="jit(train_step)/add"}
}
"""


def test_operations_are_described():
    described = describe(PROGRAM)
    rest = "optimiser and the rest"
    assert described["product"] == ("products", "trunk/layer1", "forward")
    assert described["turned"] == ("moves", rest, "")
    assert described["r"] == ("elementwise", "trunk", "backward")
    assert described["loss"] == ("elementwise", "input and losses", "forward")
    assert described["g"] == ("products", rest, "") and described["sum"] == ("collectives", rest, "")
    assert described["adam"] == ("elementwise", rest, "")


def test_moments_are_divided_among_what_runs():
    """Two threads: a from 0 to 4 s with b inside of it from 1 to 2; c from 3 to 5 beside."""
    second = 1e9
    lines = [
        [(0, 4 * second, "a"), (second, 2 * second, "b"), (0, 9 * second, "not of the program")],
        [(3 * second, 5 * second, "c")],
    ]
    found = seconds_of_operations(lines, {"a": "loop", "b": "body", "c": "other"})
    assert found == pytest.approx({"loop": 1 + 1 + 0.5, "body": 1, "other": 0.5 + 1})


@st.composite
def thread(draw) -> list[tuple[float, float, str]]:
    """Events apart, and perhaps one around them all, as a loop is around its body."""
    cuts = sorted(draw(st.sets(st.integers(0, 60), max_size=12)))
    spans = [*zip(cuts[::2], cuts[1::2], strict=False)]
    if len(cuts) > 1 and draw(st.booleans()):
        spans.append((cuts[0], cuts[-1]))
    return [(float(start), float(end), draw(st.sampled_from("abc"))) for start, end in spans]


@given(st.lists(thread(), min_size=1, max_size=3))
def test_shares_sum_to_the_time_in_which_anything_ran(lines):
    busy = {moment for line in lines for start, end, _ in line for moment in range(int(start), int(end))}
    found = seconds_of_operations(lines, {name: name for name in "abc"})
    assert sum(found.values()) * 1e9 == pytest.approx(len(busy))


def test_a_real_step(tmp_path):
    step = jax.jit(lambda x: jnp.tanh(x @ x)).lower(jnp.ones((700, 700))).compile()
    found = trace_step(lambda: jax.block_until_ready(step(jnp.ones((700, 700)))), step.as_text(), tmp_path / "trace")
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    assert 0 < found["kinds"]["products"] <= found["seconds"]
    assert sum(found["kinds"].values()) + found["idle"] == pytest.approx(found["seconds"])
    of_parts = sum(seconds for part in found["parts"].values() for seconds in part.values())
    assert of_parts == pytest.approx(sum(found["kinds"].values()))
