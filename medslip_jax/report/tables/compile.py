"""The table of `medslip compile`."""

import textwrap
from collections.abc import Mapping

from medslip_jax.aot.compiled import GIB
from medslip_jax.report.tables.cells import align
from medslip_jax.report.tables.classification import WIDTH

_BOUNDS = {"compute": "computing", "memory": "memory bandwidth"}


def compile_table(result: Mapping) -> str:
    """What is compiled, what a chip does in one step, how fast that can be at best, and notes.

    Args:
      result: of `compile.compile_report`.
    """
    lines = [_title(result), ""]
    lines += align([["one chip, one step", ""], *_rows(result)], left=(0, 1))
    lines += ["", *_verdict(result), *_roofline(result)]
    # Names of files stay whole.
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    notes = [wrap.fill(f"note: {note}") for note in result["notes"]]
    return "\n".join([*lines, *notes])


def _title(result: Mapping) -> str:
    slice_, batch, versions = result["topology"], result["batch"], result["versions"]
    hosts = "1 host" if slice_["hosts"] == 1 else f"{slice_['hosts']} hosts"
    return "\n".join(
        [
            f"{slice_['name']}: {slice_['chips']} chips ({slice_['device_kind']}) on {hosts} of "
            f"{slice_['chips_per_host']}, mesh data {slice_['mesh']['data']} x fsdp {slice_['mesh']['fsdp']}",
            f"{result['config']}: train step of {batch['total']} images ({batch['per_chip']} a chip), "
            f"{result['image_size']} px, {result['model']}, {result['dtype']}",
            f"jax {versions['jax']}, libtpu {versions['libtpu']}, medslip_jax {versions['medslip_jax']}",
        ]
    )


def _rows(result: Mapping) -> list[list[str]]:
    program = result["program"] or {}
    rows = []
    for part, show in _PARTS:
        values = program.get(part)
        if values is not None:
            unavailable = values.get("unavailable")
            rows += [[part, f"not to be had: {unavailable}"]] if unavailable else show(values, result)
    lower, compiling = result["seconds"]["lower"], result["seconds"]["compile"]
    return [*rows, ["time to lower, to compile", f"{lower:.0f} s, {compiling:.0f} s"]]


def _cost(cost: Mapping, result: Mapping) -> list[list[str]]:
    each = cost["bytes"] / result["batch"]["per_chip"] / 1e9
    return [["FLOPs", f"{cost['flops']:.4g}"], ["bytes accessed", f"{cost['bytes']:.4g}, {each:.3f} GB an image"]]


def _traffic(traffic: Mapping, result: Mapping) -> list[list[str]]:
    each = traffic["hbm"] / result["batch"]["per_chip"] / 1e9
    return [["of them from and to HBM", f"{traffic['hbm']:.4g}, {each:.3f} GB an image"]]


def _memory(memory: Mapping, result: Mapping) -> list[list[str]]:
    limit = result["memory_limit"]
    parts = [f"{name} {memory[name] / GIB:.2f}" for name in ("arguments", "temporaries", "program")]
    parts.append(f"results beside the arguments {(memory['results'] - memory['alias']) / GIB:.2f}")
    share = f"{gib(memory['total'])} of {gib(limit)} GiB ({100 * memory['total'] / limit:.0f} %)"
    return [["HBM peak", share], ["", ", ".join(parts)]]


def _collectives(kinds: Mapping, _) -> list[list[str]]:
    rows = [[kind, f"{total['count']} with {total['bytes'] / 1e6:,.2f} MB"] for kind, total in kinds.items()]
    return rows or [["collectives", "none"]]


_PARTS = (("cost", _cost), ("traffic", _traffic), ("memory", _memory), ("collectives", _collectives))


def _verdict(result: Mapping) -> list[str]:
    if result["fits"]:
        return []
    if not result["needs"]:
        return [f"could not be compiled: {result['error']}"]
    lines = [f"does not fit: needs {gib(result['needs'])} of {gib(result['memory_limit'])} GiB"]
    largest = result["largest"]
    if largest["compiled"]:
        lines.append(f"{largest['compiled']} images a chip fit (compiled)")
    if largest["estimate"] and largest["estimate"] != largest["compiled"]:
        tried = ", ".join(f"{t['per_chip']}: {gib(t['needs'])} GiB" for t in largest["tries"] if t["needs"])
        lines += [
            f"largest batch a chip that would fit: about {largest['estimate']}; --verify compiles it",
            f"  an estimate from a line through what was compiled ({tried})",
        ]
    if not largest["compiled"] and not largest["estimate"]:
        lines.append("no smaller batch was found that fits")
    return lines


def _roofline(result: Mapping) -> list[str]:
    line = result["roofline"]
    if line is None:
        return []
    chip, cost, batch = result["chip"], result["program"]["cost"], result["batch"]
    compute, memory = (f"{cost[a]:.4g} / {chip[b]:.4g}" for a, b in (("flops", "peak_flops"), ("bytes", "hbm_bytes")))
    return [
        "roofline: images/s = images a chip x chips / max(FLOPs / peak FLOP/s, bytes / HBM bandwidth)",
        f"  = {batch['per_chip']} x {result['topology']['chips']} / max({compute}, {memory})",
        f"  = {batch['total']} / max({1e3 * line['compute_seconds']:.1f} ms, {1e3 * line['memory_seconds']:.1f} ms)"
        f" = {line['images_per_second']:,.0f} images/s, bound by {_BOUNDS[line['bound_by']]}",
        "  by counts and peaks, no forecast: collectives and input are free, float32 runs at the bfloat16 peak, and",
        "  the bytes may hold what never leaves the chip",
    ]


def gib(size: float) -> str:
    return f"{size / GIB:.2f}"
