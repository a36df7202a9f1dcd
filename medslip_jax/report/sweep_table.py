"""The table of `medslip sweep`: a line a variant, each beside the first one."""

from collections.abc import Mapping


def sweep_table(rows: Mapping[str, Mapping]) -> str:
    return "\n".join(rows)
