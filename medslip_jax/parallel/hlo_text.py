"""Reading the text that XLA prints of a program: its computations, their instructions, how often each runs.

An instruction is one line:

    %all-reduce.3 = (f32[32]{0:T(128)}, bf16[4,8]{1,0}) all-reduce(%a, %b), channel_id=2, to_apply=%sum
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

NAME = re.compile(r"%([\w.\-]+)")
# They give an array another name.
RENAMES = ("bitcast", "get-tuple-element")
# They hand control to the computations that they name; what another instruction "calls" is part of it.
CONTROL = ("while", "call", "conditional")

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0, "opaque": 0}
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([0-9,<=]*)\]")
_LINE = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (.+)$")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*)?\{\s*$")
_CALLED = re.compile(
    r"\b(?:calls|to_apply|body|condition|true_computation|false_computation|branch_computations|called_computations)="
    r"(?:\{([^}]*)\}|(%[\w.\-]+))"
)
_TRIPS = re.compile(r'known_trip_count"?[:=]\s*\{"n":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of HLO: `name` = `type` `opcode`(`operands`)`attributes`."""

    name: str
    type: str
    opcode: str
    operands: str
    attributes: str

    @property
    def called(self) -> list[str]:
        """Names of the computations that it names."""
        return [name for pair in _CALLED.findall(self.attributes) for name in NAME.findall(" ".join(pair))]

    @property
    def trips(self) -> int:
        """How often a loop runs, where XLA says so; else 1."""
        match = _TRIPS.search(self.attributes)
        return int(match.group(1)) if match else 1


def instructions(hlo: str) -> Iterator[Instruction]:
    """The instructions of all computations of a module."""
    for line in hlo.splitlines():
        instruction = _instruction(line)
        if instruction is not None:
            yield instruction


def computations(hlo: str) -> tuple[str, dict[str, list[Instruction]]]:
    """(name of the entry computation, {name: instructions}).

    Raises:
      ValueError: text without an entry computation.
    """
    entry, inside = "", None
    found: dict[str, list[Instruction]] = {}
    for line in hlo.splitlines():
        head = _HEAD.match(line)
        if head:
            inside = found.setdefault(head.group(2), [])
            entry = head.group(2) if head.group(1) else entry
        elif inside is not None:
            instruction = _instruction(line)
            inside += [instruction] if instruction else []
    if not entry:
        raise ValueError("no ENTRY computation in this HLO text")
    return entry, found


def times_run(
    entry: str, found: Mapping[str, list[Instruction]], *, inside: bool, loops: bool = True
) -> dict[str, int]:
    """{computation: how often a step runs it}; of a conditional every branch counts.

    Args:
      entry, found: of `computations`.
      inside: also computations that are part of one instruction, as of a fusion.
      loops: False counts the body of a loop once.
    """
    times = dict.fromkeys(found, 0)

    def visit(name: str, count: int) -> None:
        times[name] += count
        for instruction in found[name]:
            if inside or instruction.opcode in CONTROL:
                trips = instruction.trips if loops and instruction.opcode == "while" else 1
                for called in instruction.called:
                    if called in found:
                        visit(called, count * trips)

    visit(entry, 1)
    return {name: count for name, count in times.items() if count}


def steps_of(instruction: Instruction, found: Mapping[str, list[Instruction]]) -> set[str]:
    """What an instruction does: its opcode, or those within a fusion but for such as only name arrays."""
    if instruction.opcode != "fusion":
        return {instruction.opcode}
    return {i.opcode for name in instruction.called for i in found.get(name, ())} - {"parameter", *RENAMES}


def arrays(text: str) -> list[tuple[str, tuple[int, ...]]]:
    """(element type, shape) of each array of a type; a bounded dynamic dimension counts as its bound.

    >>> arrays("(f32[32]{0:T(128)S(1)}, /*index=1*/bf16[4,<=8]{1,0}, u32[])")
    [('f32', (32,)), ('bf16', (4, 8)), ('u32', ())]
    """
    return [
        (dtype, tuple(int(n.removeprefix("<=")) for n in shape.split(",") if n))
        for dtype, shape in _ARRAY.findall(text)
    ]


def type_bytes(text: str) -> int:
    """Bytes of an array type, or of all arrays of a tuple type, without padding.

    >>> type_bytes("(f32[32]{0:T(128)S(1)}, /*index=1*/bf16[4,8]{1,0}, u32[])")
    196
    """
    return math.ceil(sum(dtype_bits(dtype) * math.prod(shape) for dtype, shape in arrays(text)) / 8)


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


def _instruction(line: str) -> Instruction | None:
    match = _LINE.match(line)
    if match is None:
        return None
    name, rest = match.groups()
    end = _closing(rest) if rest.startswith("(") else rest.find(" ")
    type_, rest = rest[:end], rest[end:].lstrip()
    opcode, parenthesis, rest = rest.partition("(")
    if not parenthesis:
        return None
    end = _closing("(" + rest)
    return Instruction(name, type_, opcode, rest[: end - 2], rest[end - 1 :])


def _closing(text: str) -> int:
    """Index after the parenthesis that closes the first character's; the length if none does."""
    depth = 0
    for match in re.finditer(r"[()]", text):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return match.end()
    return len(text)
