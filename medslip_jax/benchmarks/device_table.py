"""The result of `medslip bench device` as one Markdown table."""

from collections.abc import Mapping
from typing import Any


def device_table(result: Mapping[str, Any]) -> str:
    """A caption, and a row for every part in a fixed order; PyTorch's rate beside ours."""
    ours, theirs = result["jax"], result["pytorch"]
    beside = {row["part"]: row for row in theirs["rows"]}
    lines = [_caption(result), "", "| what | images/s | PyTorch | |", "|---|---|---|---|"]
    if not ours["rows"]:
        lines.append(_line("JAX", "", "", ours["device"].get("why", "")))
    rows = sorted(ours["rows"], key=lambda row: (_ORDER.index(row["kind"]), row["precision"], row["batch"]))
    for row in rows:
        other = beside.get(row["part"])
        lines.append(_line(row["part"], _rate(row), _rate(other) if other else "", _details(row, other)))
    lines += [_line("memory", "", "", text) for text in _memory(ours["rows"])]
    if not theirs["rows"]:
        lines.append(_line("PyTorch", "", "", f"left out: {theirs['device'].get('why', 'no rows')}"))
    return "\n".join(lines)


_ORDER = ("golden parity", "step", "inference", "loader to device")


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _caption(result: Mapping[str, Any]) -> str:
    device = result["jax"]["device"]
    model = "the paper's model" if result["size"] == "paper" else f"a {result['size']} model"
    versions = ", ".join(f"{name} {result['machine'][name]}" for name in ("jax", "torch") if result["machine"][name])
    return (
        f"One {device.get('device_kind', 'device')}, {model}, {result['image_size']} px; {versions}; "
        f"{result['seconds']:.0f} of {result['seconds_allowed']:.0f} s:"
    )


def _rate(row: Mapping[str, Any]) -> str:
    if row["kind"] == "golden parity":
        return {"ok": "pass", "failed": "fail"}.get(row["status"], row["status"])
    return f"{row['images_per_second']:,.0f}" if row["status"] == "ok" else row["status"]


def _details(row: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
    said = []
    if "errors" in row:
        said += [
            f"{name} {_short(error)} of at most {row['limits'][name]:.0e}" for name, error in row["errors"].items()
        ]
    if "seconds_median" in row:
        lowest, highest = (f"{1e3 * row[f'seconds_{end}']:.1f}" for end in ("lowest", "highest"))
        said.append(f"{1e3 * row['seconds_median']:.1f} ms ({lowest} to {highest})")
        said.append(f"MFU {row['mfu']:.1%}" if isinstance(row["mfu"], float) else f"MFU {row['mfu']}")
        size = row["memory_bytes"]
        said.append(f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB")
    if "compile_seconds" in row:
        said.append(f"compiled in {row['compile_seconds']:.0f} s")
    if "workers" in row:
        said.append(f"{row['workers']} workers")
    if "why" in row:
        said.append(row["why"])
    if other and "why" in other:
        said.append(f"PyTorch {other.get('form', other['status'])}: {other['why']}")
    return ", ".join(said)


def _short(error: float | str) -> str:
    return error if isinstance(error, str) else f"{error:.1e}"


def _memory(rows: list[Mapping[str, Any]]) -> list[str]:
    """The device's own count, where it has one."""
    peaks = [row["peak_bytes"] for row in rows if "peak_bytes" in row]
    limits = [row["limit_bytes"] for row in rows if "limit_bytes" in row]
    if not peaks:
        return []
    of = f" of {limits[0] / 1e9:.1f}" if limits else ""
    return [f"at most {max(peaks) / 1e9:.1f}{of} GB in use, by the device's count"]
