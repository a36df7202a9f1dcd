"""Bytes that a compiled program moves from and to the chip's memory, counted in its HLO text.

XLA's "bytes accessed" counts every operand of every instruction, also of arrays that lie in the chip's own vector
memory (the compiler marks them S(1)), and a whole array for each slice of it that is fetched ahead. For a program with
many small arrays that is more than twice what crosses the pins. Here arrays count where they lie in HBM, and slices by
their own size. On a GPU every array lies in its memory; what its caches spare is not known.
"""

import re
from collections.abc import Iterable, Mapping

from medslip_jax.parallel.hlo_text import CONTROL, NAME, Instruction, computations, steps_of, times_run, type_bytes

# They name arrays and move nothing, their start has been counted, or what they run is.
_FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", *CONTROL}
# They read as much as they write.
_SLICES = {"slice", "dynamic-slice"}
_LIBRARY = 'custom_call_target="__cu'
_ARRAY = re.compile(r"[a-z][a-z0-9]*\[[0-9,<=]*\](?:\{[^}]*\})?")
# Vector memory and the scalars beside it.
_ON_CHIP = ("S(1)", "S(2)")


def hbm_bytes(hlo: str) -> int:
    """Bytes read from and written to HBM, a chip and step; a loop's body as often as XLA says that it runs.

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
    entry, found = computations(hlo)
    times = times_run(entry, found, inside=False)
    return sum(count * _bytes(found[name], found) for name, count in times.items())


def _bytes(body: Iterable[Instruction], found: Mapping[str, list[Instruction]]) -> int:
    types, total = {}, 0
    for instruction in body:
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
        elif steps_of(instruction, found) <= _SLICES:
            source = types.get(NAME.findall(instruction.operands)[0], "")
            total += sum(type_bytes(instruction.type) for place in (source, instruction.type) if _in_hbm(place))
        else:
            if _LIBRARY in instruction.attributes:
                # The last result of a call of cuBLAS or cuDNN is its workspace, of which it uses what it likes.
                arrays = arrays[:-1] or arrays
            operands = (types.get(name, "") for name in NAME.findall(instruction.operands))
            read = [array for text in operands for array in _ARRAY.findall(text)]
            total += sum(type_bytes(array) for array in (*arrays, *read) if _in_hbm(array))
    return total


def _in_hbm(array: str) -> bool:
    return not any(mark in array for mark in _ON_CHIP)
