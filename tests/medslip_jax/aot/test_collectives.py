import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medslip_jax.aot.collectives import count_collectives
from medslip_jax.parallel.hlo_text import dtype_bits, instructions, type_bytes

# Made by hand in the form of XLA's text: layouts with parentheses, comments in tuples, a wrapped collective, a loop.
HLO = """\
HloModule jit_train_step, is_scheduled=true, entry_computation_layout={(f32[8,4]{1,0:T(8,128)})->f32[8,4]{1,0}}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %add = f32[]{:T(128)} add(%a, %b)
}

%wrapped (p: bf16[16,2]) -> bf16[4,2] {
  %p = bf16[16,2]{1,0} parameter(0)
  ROOT %scatter = bf16[4,2]{1,0} reduce-scatter(%p), channel_id=5, dimensions={0}, to_apply=%sum
}

ENTRY %main (x: f32[8,4], y: f32[]) -> f32[8,4] {
  %x = f32[8,4]{1,0:T(8,128)S(1)} parameter(0), metadata={op_name="state.params['all-reduce(']"}
  %y = f32[]{:T(128)} parameter(1)
  %small = s8[10]{0} constant({0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
  %all-reduce.1 = (f32[8,4]{1,0:T(8,128)S(1)}, /*index=1*/f32[]{:T(128)}) all-reduce(%x, %y), to_apply=%sum
  %first = f32[8,4]{1,0:T(8,128)} get-tuple-element(%all-reduce.1), index=0
  %gather-start = (s8[10]{0}, s8[40]{0}) all-gather-start(%small), channel_id=2, dimensions={0}
  %gather-done = s8[40]{0} all-gather-done(%gather-start)
  %all-reduce.2 = f32[8,4]{1,0} all-reduce-start(%first), channel_id=3, to_apply=%sum
  %done = f32[8,4]{1,0} all-reduce-done(%all-reduce.2)
  %half = bf16[16,2]{1,0} convert(%done)
  %async = ((bf16[16,2]{1,0}), bf16[4,2]{1,0}, u32[]) async-start(%half), calls=%wrapped
  %sugar = ((bf16[16,2]{1,0}), bf16[4,2]{1,0}, u32[]) reduce-scatter-start(%half), calls=%wrapped
  %update = ((bf16[16,2]{1,0}), bf16[4,2]{1,0}, u32[]) async-update(%async)
  %end = bf16[4,2]{1,0} async-done(%update)
  ROOT %shift = f32[8,4]{1,0} collective-permute(f32[8,4]{1,0} %done), channel_id=4, source_target_pairs={{0,1},{1,0}}
}
"""


def test_a_module_by_hand():
    assert count_collectives(HLO) == {
        "all-reduce": {"count": 2, "bytes": (32 + 1) * 4 + 32 * 4},
        "all-gather": {"count": 1, "bytes": 10},
        # Started in two ways.
        "reduce-scatter": {"count": 2, "bytes": 2 * 64},
        "collective-permute": {"count": 1, "bytes": 128},
    }


def test_instructions_keep_their_parts_apart():
    found = {i.name: i for i in instructions(HLO)}
    reduce = found["all-reduce.1"]
    assert reduce.type == "(f32[8,4]{1,0:T(8,128)S(1)}, /*index=1*/f32[]{:T(128)})"
    assert (reduce.opcode, reduce.operands) == ("all-reduce", "%x, %y")
    assert reduce.attributes == ", to_apply=%sum"
    assert found["sugar"].attributes == ", calls=%wrapped"
    assert found["x"].opcode == "parameter"


def test_no_collectives():
    assert count_collectives("HloModule m\n\nENTRY %main (x: f32[2]) -> f32[2] {\n}\n") == {}
    with pytest.raises(ValueError, match="no ENTRY computation"):
        count_collectives("")


def test_a_loop_runs_its_collectives_as_often_as_xla_says():
    hlo = (
        "%body (p: f32[2]) -> f32[2] {\n  %p = f32[2]{0} parameter(0)\n"
        "  ROOT %r = f32[2]{0} all-reduce(%p), to_apply=%sum\n}\n\n"
        "ENTRY %main (x: f32[2]) -> f32[2] {\n  %x = f32[2]{0} parameter(0)\n"
        '  ROOT %w = f32[2]{0} while(%x), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}\n}\n'
    )
    assert count_collectives(hlo) == {"all-reduce": {"count": 5, "bytes": 40}}


def test_an_operand_from_nowhere_is_no_zero():
    with pytest.raises(ValueError, match="%y of %r is defined nowhere"):
        count_collectives("ENTRY %main {\n  %r = f32[2]{0} all-reduce(%y), channel_id=1\n}\n")


@pytest.mark.parametrize(
    ("name", "bits"), [("pred", 8), ("s4", 4), ("u2", 2), ("bf16", 16), ("f8e4m3fn", 8), ("f64", 64), ("c128", 128)]
)
def test_widths(name, bits):
    assert dtype_bits(name) == bits


def test_unknown_widths_are_no_guess():
    with pytest.raises(ValueError, match="complex7"):
        dtype_bits("complex7")


_ARRAYS = st.tuples(
    st.sampled_from(["pred", "s8", "u32", "bf16", "f32", "s64"]), st.lists(st.integers(0, 300), max_size=4)
)


@given(st.lists(_ARRAYS, min_size=1, max_size=7))
def test_the_bytes_of_a_tuple_are_those_of_its_arrays(arrays):
    written = [f"{dtype}[{','.join(map(str, shape))}]{{0:T(8,128)S(1)}}" for dtype, shape in arrays]
    expected = sum(dtype_bits(dtype) // 8 * math.prod(shape) for dtype, shape in arrays)
    assert type_bytes(f"({', '.join(written)})") == expected
    lines = [f"  %p{i} = {text} parameter({i})" for i, text in enumerate(written)]
    names = ", ".join(f"%p{i}" for i in range(len(arrays)))
    lines.append(f"  %r = ({', /*index=5*/'.join(written)}) all-reduce({names}), channel_id=1")
    assert count_collectives("\n".join(["ENTRY %main {", *lines, "}"])) == {
        "all-reduce": {"count": 1, "bytes": expected}
    }
