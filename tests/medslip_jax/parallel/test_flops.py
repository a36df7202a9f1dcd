"""FLOPs counted in a program's text: against XLA's own count, by hand, and in loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medslip_jax.parallel.flops import program_flops, step_flops, text_flops

pytestmark = pytest.mark.portable
X, W, BIG = "f32[4,8,8,3]{3,2,1,0}", "f32[8,3,3,3]{3,2,1,0}", "f32[4,8,8,8]{3,2,1,0}"
# Pairs of output and kernel position that meet an input, along one axis of 8 with a kernel of 3 and padding of 1.
AXIS = 3 * 8 - 2


def module(*lines: str) -> str:
    return "\n".join(["ENTRY %main {", *lines, "}", ""])


@pytest.mark.parametrize(
    ("kind", "operands", "result"),
    [
        ("Forward", [X, W], BIG),
        ("BiasActivationForward", [X, W, "f32[8]{0}"], BIG),
        ("BackwardInput", [BIG, W], X),
        ("BackwardFilter", [X, BIG], W),
    ],
)
def test_calls_of_cudnn_cost_what_their_convolution_does(kind, operands, result):
    lines = [f"  %p{i} = {text} parameter({i})" for i, text in enumerate(operands)]
    names = ", ".join(f"%p{i}" for i in range(len(operands)))
    lines.append(
        f"  %c = ({result}, u8[0]{{0}}) custom-call({names}), window={{size=3x3 pad=1_1x1_1}}, "
        f'dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv{kind}"'
    )
    assert text_flops(module(*lines)) == 2 * 4 * 3 * 8 * AXIS**2


def test_calls_of_cublas():
    text = module(
        "  %a = bf16[2,8,16]{2,1,0} parameter(0)",
        "  %b = bf16[2,16,4]{2,1,0} parameter(1)",
        '  %c = (bf16[2,8,4]{2,1,0}, s8[100]{0}) custom-call(%a, %b), custom_call_target="__cublas$lt$matmul", '
        'backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],'
        '"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"],"rhs_batch_dimensions":["0"]}}}',
    )
    assert text_flops(text) == 2 * 2 * 8 * 16 * 4


def test_a_program_without_products_has_none():
    assert text_flops(module("  %a = f32[8]{0} parameter(0)", "  ROOT %b = f32[8]{0} negate(%a)")) == 0
    with pytest.raises(ValueError, match="no ENTRY computation"):
        text_flops("")


_SMALL = st.integers(1, 9)


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(7, 13),
    kernel=st.sampled_from([1, 3, 7]),
    stride=st.integers(1, 2),
    channels=_SMALL,
    features=_SMALL,
    gradient=st.booleans(),
)
def test_convolutions_and_their_gradients_agree_with_xla(size, kernel, stride, channels, features, gradient):
    def convolve(x, w):
        pad = [(kernel // 2, kernel // 2)] * 2
        return jax.lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    function = jax.grad(lambda x, w: jnp.vdot(convolve(x, w), 1.0 + convolve(x, w)), (0, 1)) if gradient else convolve
    arguments = np.zeros((2, size, size, channels)), np.zeros((kernel, kernel, channels, features))
    lowered = jax.jit(function).lower(*(jnp.asarray(a, jnp.float32) for a in arguments))
    compiled = lowered.compile()
    counted, said = text_flops(compiled.as_text()), compiled.cost_analysis()["flops"]
    # XLA also counts sums and products of single elements, of which these have at most nine for each array.
    others = 9 * (2 * size**2 * max(channels, features) + kernel**2 * channels * features)
    assert counted <= said <= counted + others


@pytest.mark.parametrize("parts", [2, 4])
def test_a_loop_counts_as_often_as_it_runs(parts):
    """The sum over parts of a batch: once by XLA's own count, and as much as the whole batch by this one."""
    w = jnp.zeros((64, 64))

    def whole(w, x):
        return jnp.sum(jnp.tanh(x @ w) @ w)

    def in_parts(w, x):
        return jax.lax.scan(lambda total, part: (total + whole(w, part), None), 0.0, x.reshape(parts, -1, 64))[0]

    x = jnp.zeros((256, 64))
    once, looped = (jax.jit(f).lower(w, x).compile() for f in (whole, in_parts))
    assert looped.cost_analysis()["flops"] == pytest.approx(once.cost_analysis()["flops"] / parts, rel=0.05)
    assert step_flops(looped) == pytest.approx(step_flops(once), rel=0.02)


class _Program:
    """One product of 2 * 8 * 16 * 4 FLOPs, and what XLA says of it."""

    def __init__(self, said: dict | None):
        self._said = said

    def as_text(self):
        return module(
            "  %a = f32[8,16]{1,0} parameter(0)",
            "  %b = f32[16,4]{1,0} parameter(1)",
            "  ROOT %c = f32[8,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
        )

    def cost_analysis(self):
        return self._said


@pytest.mark.parametrize(
    ("said", "flops"),
    # Also additions; nothing, as of a GPU that is not here; additions alone, as of a GPU that is.
    [({"flops": 1100.0}, 1100), (None, 1024), ({}, 1024), ({"flops": 76.0}, 1024)],
)
def test_what_xla_says_is_no_less_than_the_products(said, flops):
    assert program_flops(_Program(said)) == flops


class _Unprintable:
    def as_text(self):
        raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK")

    def cost_analysis(self):
        return {"flops": 5.0}


def test_a_program_that_cannot_be_printed_has_no_count():
    assert program_flops(_Unprintable()) is None
