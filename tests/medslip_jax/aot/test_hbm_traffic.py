"""What moves between a chip and its memory, worked by hand on small programs."""

import pytest

from medslip_jax.aot.hbm_traffic import hbm_bytes

PROGRAM = """HloModule jit_step

%fused (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0} parameter(0)
  ROOT %n = f32[8,128]{1,0} negate(%p)
}

ENTRY %main {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %w = bf16[64,128]{1,0:T(8,128)} parameter(1)
  %start = ((bf16[64,128]{1,0}), bf16[16,128]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%w), slice={[0:16], [0:128]}
  %done = bf16[16,128]{1,0:T(8,128)S(1)} slice-done(%start)
  %copy = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%a)
  %copied = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%copy)
  %f = f32[8,128]{1,0:T(8,128)S(1)} fusion(%copied), kind=kLoop, calls=%fused
  ROOT %g = f32[8,128]{1,0:T(8,128)} add(%f, %a)
}
"""


def test_slices_count_once_and_vector_memory_does_not():
    # The slice: 16 x 128 bf16 out of HBM. The copy: 8 x 128 floats out of HBM. The fusion stays on the chip. The sum
    # reads one array from HBM and writes one.
    assert hbm_bytes(PROGRAM) == 16 * 128 * 2 + 8 * 128 * 4 + 2 * 8 * 128 * 4


GPU = """HloModule jit_step

%cut (p: f32[8,128]) -> f32[2,128] {
  %p = f32[8,128]{1,0} parameter(0)
  ROOT %s = f32[2,128]{1,0} slice(%p), slice={[0:2], [0:128]}
}

%body (q: f32[2,128]) -> f32[2,128] {
  %q = f32[2,128]{1,0} parameter(0)
  ROOT %n = f32[2,128]{1,0} negate(%q)
}

ENTRY %main {
  %a = f32[8,128]{1,0} parameter(0)
  %b = f32[128,4]{1,0} parameter(1)
  %part = f32[2,128]{1,0} fusion(%a), kind=kLoop, calls=%cut
  %loop = f32[2,128]{1,0} while(%part), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %product = (f32[2,4]{1,0}, s8[33554432]{0}) custom-call(%loop, %b), custom_call_target="__cublas$lt$matmul"
  ROOT %r = f32[2,4]{1,0} get-tuple-element(%product), index=0
}
"""


def test_loops_fused_slices_and_workspaces():
    # A slice is read and written, 2 x 128; three times 2 x 128 are read and written; then the product's three arrays,
    # without the workspace of cuBLAS.
    assert hbm_bytes(GPU) == 4 * (2 * 2 * 128 + 3 * 2 * 2 * 128 + 2 * 128 + 128 * 4 + 2 * 4)


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        hbm_bytes("HloModule empty")
