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


def test_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        hbm_bytes("HloModule empty")
