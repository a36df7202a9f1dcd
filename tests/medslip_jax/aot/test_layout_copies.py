from medslip_jax.aot.layout_copies import count_layout_copies

# A convolution whose images are turned before and after it, its kernel, a sum that also turns, and a copy that is no
# part of it.
PROGRAM = """HloModule jit_step

%turn (p: f32[4,3,8,8]) -> f32[4,8,8,3] {
  %p = f32[4,3,8,8]{3,2,1,0} parameter(0)
  ROOT %t = f32[4,8,8,3]{3,2,1,0} transpose(%p), dimensions={0,2,3,1}
}

%sum (q: f32[4,8,8,2]) -> f32[4,2,8,8] {
  %q = f32[4,8,8,2]{3,2,1,0} parameter(0)
  %u = f32[4,8,8,2]{3,2,1,0} add(%q, %q)
  ROOT %v = f32[4,2,8,8]{3,2,1,0} transpose(%u), dimensions={0,3,1,2}
}

ENTRY %main (x: f32[4,3,8,8], k: f32[3,3,3,2]) -> f32[4,2,8,8] {
  %x = f32[4,3,8,8]{3,2,1,0} parameter(0)
  %k = f32[3,3,3,2]{3,2,1,0} parameter(1)
  %turned = f32[4,8,8,3]{3,2,1,0} fusion(%x), kind=kInput, calls=%turn
  %named = f32[4,8,8,3]{3,2,1,0} bitcast(%turned)
  %kernel = f32[2,3,3,3]{3,2,1,0} transpose(%k), dimensions={3,0,1,2}
  %c = (f32[4,8,8,2]{3,2,1,0}, u8[0]{0}) custom-call(%named, %kernel), dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward"
  %y = f32[4,8,8,2]{3,2,1,0} get-tuple-element(%c), index=0
  %z = f32[4,2,8,8]{3,2,1,0} transpose(%y), dimensions={0,3,1,2}
  %w = (f32[2,3,3,3]{3,2,1,0}, u8[0]{0}) custom-call(%named, %y), dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  %g = f32[2,3,3,3]{3,2,1,0} get-tuple-element(%w), index=0
  %h = f32[3,3,3,2]{3,2,1,0} copy(%g)
  %s = f32[4,2,8,8]{3,2,1,0} fusion(%y), kind=kLoop, calls=%sum
  ROOT %other = f32[4,2,8,8]{3,2,1,0} copy(%z)
}
"""  # noqa: E501


def test_a_program_by_hand():
    assert count_layout_copies(PROGRAM) == {
        "convolutions": {"count": 2},
        "images": {"count": 2, "bytes": 4 * (4 * 8 * 8 * 3 + 4 * 8 * 8 * 2), "fused": 1},
        "kernels": {"count": 2, "bytes": 2 * 4 * 54, "fused": 0},
        "others": {"count": 1, "bytes": 4 * 4 * 2 * 8 * 8, "fused": 0},
    }
