"""Bytes that a compiled TPU program moves from and to the chip's memory, counted in its HLO text.

XLA's "bytes accessed" counts every operand of every instruction, also of arrays that lie in the chip's own vector
memory (the compiler marks them S(1)), and a whole array for each slice of it that is fetched ahead. For a program with
many small arrays that is more than twice what crosses the pins. Here arrays count where they lie in HBM, and slices by
their own size.
"""

import re

from medslip_jax.aot.collectives import NAME, instructions, type_bytes

# They name arrays and move nothing, or their start has been counted.
_FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "slice-done", "copy-done"}
_ARRAY = re.compile(r"[a-z][a-z0-9]*\[[0-9,<=]*\](?:\{[^}]*\})?")
# Vector memory and the scalars beside it.
_ON_CHIP = ("S(1)", "S(2)")


def hbm_bytes(hlo: str) -> int:
    """Bytes read from and written to HBM by the entry computation, a chip and step; a loop's body is not counted.

    >>> hbm_bytes(
    ...     "ENTRY %main {\\n"
    ...     "  %a = f32[8,128]{1,0} parameter(0)\\n"
    ...     "  %b = f32[8,128]{1,0:S(1)} copy(%a)\\n"
    ...     "  ROOT %c = f32[8,128]{1,0} add(%b, %b)\\n"
    ...     "}\\n"
    ... )
    8192

    Raises:
      ValueError: text without an entry computation.
    """
    types, total = {}, 0
    for instruction in instructions(_entry(hlo)):
        types[instruction.name] = instruction.type
        if instruction.opcode in _FREE or instruction.opcode.endswith(("-done", "-update")):
            continue
        arrays = _ARRAY.findall(instruction.type)
        if instruction.opcode == "slice-start":
            # The tuple has the whole source, then the slice, which is read once and written once.
            source, piece = arrays[:2]
            total += sum(type_bytes(piece) for place in (source, piece) if _in_hbm(place))
        elif instruction.opcode == "copy-start":
            total += sum(type_bytes(array) for array in arrays[:2] if _in_hbm(array))
        else:
            operands = (types.get(name, "") for name in NAME.findall(instruction.operands))
            total += sum(
                type_bytes(a) for text in (instruction.type, *operands) for a in _ARRAY.findall(text) if _in_hbm(a)
            )
    return total


def _entry(hlo: str) -> str:
    start = hlo.find("ENTRY ")
    if start < 0:
        raise ValueError("no ENTRY computation in this HLO text")
    end = hlo.find("\n}", start)
    return hlo[start : end if end >= 0 else len(hlo)]


def _in_hbm(array: str) -> bool:
    return not any(mark in array for mark in _ON_CHIP)
