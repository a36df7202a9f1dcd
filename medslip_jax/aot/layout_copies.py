"""Copies and transpositions that a compiled GPU program makes beside convolutions, counted in its HLO text.

cuDNN reads images with channels last and kernels as output x height x width x input. A copy of images into that order,
or out of it, costs as much as reading them; the kernels of a model are small beside them, and Flax has them in another
order.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from medslip_jax.parallel.hlo_text import NAME, RENAMES, Instruction, computations, steps_of, times_run, type_bytes

_TARGET = re.compile(r'custom_call_target="__cudnn\$conv(\w+)"')
_MOVES = {"copy", "transpose"}


def count_layout_copies(hlo: str) -> dict[str, dict[str, int]]:
    """{"convolutions": {"count"}, "images", "kernels", "others": {"count", "bytes", "fused"}} of a step.

    "count" and "bytes" (of the results) are of copies and transpositions that do nothing else; "fused" counts fusions
    that transpose beside other work, and read and write what they would without. They are of images or kernels if a
    convolution reads their result, or they read a convolution's, as such.

    Raises:
      ValueError: text without an entry computation.
    """
    entry, found = computations(hlo)
    totals = {key: {"count": 0, "bytes": 0, "fused": 0} for key in ("images", "kernels", "others")}
    calls = 0
    for name, times in times_run(entry, found, inside=False).items():
        body = found[name]
        beside = _beside(body)
        calls += times * sum(_role(instruction) is not None for instruction in body)
        for instruction in body:
            steps = steps_of(instruction, found)
            total = totals[beside.get(instruction.name, "others")]
            if steps and steps <= _MOVES:
                total["count"] += times
                total["bytes"] += times * type_bytes(instruction.type)
            elif "transpose" in steps:
                total["fused"] += times
    return {"convolutions": {"count": calls}, **totals}


def _role(instruction: Instruction) -> str | None:
    """ "Forward", "BackwardInput", "BackwardFilter" or the like of a call of cuDNN."""
    match = _TARGET.search(instruction.attributes) if instruction.opcode == "custom-call" else None
    return match.group(1) if match else None


def _beside(body: Sequence[Instruction]) -> dict[str, str]:
    """{instruction: "images" or "kernels"} of those that a convolution reads from or that read from it."""
    by_name = {instruction.name: instruction for instruction in body}
    readers: dict[str, list[str]] = {}
    for instruction in body:
        for operand in NAME.findall(instruction.operands):
            readers.setdefault(operand, []).append(instruction.name)
    found: dict[str, str] = {}
    for instruction in body:
        role = _role(instruction)
        if role is None:
            continue
        first, second, *_ = NAME.findall(instruction.operands)
        gradient = role == "BackwardFilter"
        for operand, what in ((first, "images"), (second, "images" if gradient else "kernels")):
            found |= dict.fromkeys(_upwards(operand, by_name), what)
        found |= dict.fromkeys(_downwards(instruction.name, by_name, readers), "kernels" if gradient else "images")
    return found


def _upwards(name: str, by_name: Mapping[str, Instruction]) -> Iterator[str]:
    """The instruction itself, and what it is another name of."""
    while name in by_name:
        yield name
        if by_name[name].opcode not in RENAMES:
            return
        name = NAME.findall(by_name[name].operands)[0]


def _downwards(name: str, by_name: Mapping[str, Instruction], readers: Mapping[str, list[str]]) -> Iterator[str]:
    """What reads the result, also under another name."""
    for reader in readers.get(name, ()):
        yield reader
        if by_name[reader].opcode in RENAMES:
            yield from _downwards(reader, by_name, readers)
