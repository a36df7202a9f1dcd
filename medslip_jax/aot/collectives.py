"""The collectives of a compiled program, counted in its HLO text.

Bytes of a collective are those of its operands on one chip, which for an all-reduce are those of its result. Operands
are named and not described, so their shapes are looked up where they are defined. An asynchronous collective is three
lines: "-start" counts, "-update" and "-done" do not. A collective within a loop counts as often as XLA says that the
loop runs.
"""

from medslip_jax.parallel.hlo_text import NAME, Instruction, computations, times_run, type_bytes

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)


def count_collectives(hlo: str) -> dict[str, dict[str, int]]:
    """{kind: {"count", "bytes"}} of the kinds that occur, bytes a chip and step.

    Raises:
      ValueError: text that is not HLO as XLA prints it.
    """
    entry, found = computations(hlo)
    totals = {kind: {"count": 0, "bytes": 0} for kind in KINDS}
    for name, times in times_run(entry, found, inside=True).items():
        sizes = {instruction.name: type_bytes(instruction.type) for instruction in found[name]}
        for instruction in found[name]:
            kind = collective_kind(instruction)
            if kind:
                totals[kind]["count"] += times
                totals[kind]["bytes"] += times * _bytes(instruction, sizes)
    return {kind: total for kind, total in totals.items() if total["count"]}


def _bytes(instruction: Instruction, sizes: dict[str, int]) -> int:
    names = NAME.findall(instruction.operands)
    missing = [name for name in names if name not in sizes]
    if missing:
        raise ValueError(f"operand %{missing[0]} of %{instruction.name} is defined nowhere")
    return sum(sizes[name] for name in names)


def collective_kind(instruction: Instruction) -> str | None:
    """One of `KINDS` if the instruction is a collective, or starts one."""
    kind = instruction.opcode.removesuffix("-start")
    # A start that calls a computation only wraps the collective inside of it, which has a line of its own.
    wraps = instruction.opcode.endswith("-start") and "calls=" in instruction.attributes
    return kind if kind in KINDS and not wraps else None
