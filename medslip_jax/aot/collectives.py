"""The collectives of a compiled program, counted in its HLO text.

An instruction of that text is one line:

    %all-reduce.3 = (f32[32]{0:T(128)}, bf16[4,8]{1,0}) all-reduce(%a, %b), channel_id=2, to_apply=%sum

Its bytes are those of its operands on one chip, which for an all-reduce are those of its result. Operands are named
and not described, so their shapes are looked up where they are defined. An asynchronous collective is three lines:
"-start" counts, "-update" and "-done" do not. A collective within a loop counts once, as the text does not say how
often the loop runs.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0, "opaque": 0}
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([0-9,<=]*)\]")
NAME = re.compile(r"%([\w.\-]+)")
_LINE = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (.+)$")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of HLO: `name` = `type` `opcode`(`operands`)`attributes`."""

    name: str
    type: str
    opcode: str
    operands: str
    attributes: str


def count_collectives(hlo: str) -> dict[str, dict[str, int]]:
    """{kind: {"count", "bytes"}} of the kinds that occur, bytes a chip and step.

    Raises:
      ValueError: text that is not HLO as XLA prints it.
    """
    sizes, found = {}, []
    for instruction in instructions(hlo):
        sizes[instruction.name] = type_bytes(instruction.type)
        kind = collective_kind(instruction)
        if kind:
            found.append((kind, instruction))
    totals = {kind: {"count": 0, "bytes": 0} for kind in KINDS}
    for kind, instruction in found:
        names = NAME.findall(instruction.operands)
        missing = [name for name in names if name not in sizes]
        if missing:
            raise ValueError(f"operand %{missing[0]} of %{instruction.name} is defined nowhere")
        totals[kind]["count"] += 1
        totals[kind]["bytes"] += sum(sizes[name] for name in names)
    return {kind: total for kind, total in totals.items() if total["count"]}


def collective_kind(instruction: Instruction) -> str | None:
    """One of `KINDS` if the instruction is a collective, or starts one."""
    kind = instruction.opcode.removesuffix("-start")
    # A start that calls a computation only wraps the collective inside of it, which has a line of its own.
    wraps = instruction.opcode.endswith("-start") and "calls=" in instruction.attributes
    return kind if kind in KINDS and not wraps else None


def instructions(hlo: str) -> Iterator[Instruction]:
    """The instructions of all computations of a module."""
    for line in hlo.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, rest = match.groups()
        end = _closing(rest) if rest.startswith("(") else rest.find(" ")
        type_, rest = rest[:end], rest[end:].lstrip()
        opcode, parenthesis, rest = rest.partition("(")
        if not parenthesis:
            continue
        end = _closing("(" + rest)
        yield Instruction(name, type_, opcode, rest[: end - 2], rest[end - 1 :])


def type_bytes(text: str) -> int:
    """Bytes of an array type, or of all arrays of a tuple type, without padding.

    >>> type_bytes("(f32[32]{0:T(128)S(1)}, /*index=1*/bf16[4,8]{1,0}, u32[])")
    196
    """
    bits = 0
    for dtype, shape in _ARRAY.findall(text):
        # A bounded dynamic dimension is written <=8.
        sizes = [int(n.removeprefix("<=")) for n in shape.split(",") if n]
        bits += dtype_bits(dtype) * math.prod(sizes)
    return math.ceil(bits / 8)


def dtype_bits(name: str) -> int:
    """Bits of an element: pred, s4, u8, bf16, f32, f8e4m3fn, c64 ...

    >>> [dtype_bits(name) for name in ("pred", "s4", "f8e4m3fn", "bf16", "c64")]
    [8, 4, 8, 16, 64]
    """
    if name in _BITS:
        return _BITS[name]
    match = re.match(r"[suf](\d+)", name)
    if match is None:
        raise ValueError(f"unknown element type {name!r}")
    return int(match.group(1))


def _closing(text: str) -> int:
    """Index after the parenthesis that closes the first character's; the length if none does."""
    depth = 0
    for match in re.finditer(r"[()]", text):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return match.end()
    return len(text)
