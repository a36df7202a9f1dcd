"""The table of `medslip compile`."""

import textwrap
from collections.abc import Mapping

from medslip_jax.report.tables.cells import WIDTH, Table

_BOUNDS = {"compute": "computing", "memory": "memory bandwidth"}


def compile_table(result: Mapping) -> str:
    """What is compiled, what a chip does in one step, how fast that can be at best, and notes.

    Args:
      result: of `aot.step_report.compile_report`.
    """
    rows = str(Table(["one chip, one step", ""], _rows(result), left=(0, 1)))
    lines = [_title(result), "", rows, "", *_verdict(result), *_evaluation(result), *_roofline(result)]
    # Names of files stay whole.
    wrap = textwrap.TextWrapper(WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
    notes = [wrap.fill(f"note: {note}") for note in result["notes"]]
    return "\n".join([*lines, *notes])


def _title(result: Mapping) -> str:
    slice_, batch, versions = result["topology"], result["batch"], result["versions"]
    hosts = count(slice_["hosts"], "host")
    return "\n".join(
        [
            f"{slice_['name']}: {count(slice_['chips'], 'chip')} ({slice_['device_kind']}) on {hosts} of "
            f"{slice_['chips_per_host']}, mesh data {slice_['mesh']['data']} x fsdp {slice_['mesh']['fsdp']}",
            f"{result['config']}: train step of {batch['total']} images ({batch['per_chip']} a chip), "
            f"{result['image_size']} px, {result['model']}, {result['dtype']}",
            ", ".join(f"{name} {version}" for name, version in versions.items() if name != "jaxlib"),
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
    if result["largest"] and result["fits"]:
        rows.append(["images a chip that would fit", f"about {result['largest']}, in proportion"])
    lower, compiling = result["seconds"]["lower"], result["seconds"]["compile"]
    return [*rows, ["time to lower, to compile", f"{lower:.0f} s, {compiling:.0f} s"]]


def _cost(cost: Mapping, _) -> list[list[str]]:
    return [["FLOPs", f"{cost['flops']:.4g}"]]


def _traffic(traffic: Mapping, result: Mapping) -> list[list[str]]:
    each = traffic["hbm"] / result["batch"]["per_chip"] / 1e9
    return [["bytes from and to HBM", f"{traffic['hbm']:.4g}, {each:.3f} GB an image"]]


def _memory(memory: Mapping, result: Mapping) -> list[list[str]]:
    limit = result["memory_limit"]
    parts = [f"{name} {gib(memory[name])}" for name in ("arguments", "temporaries", "program")]
    parts.append(f"results beside the arguments {gib(memory['results'] - memory['alias'])}")
    share = f"{gib(memory['total'])} of {gib(limit)} GiB ({100 * memory['total'] / limit:.0f} %)"
    return [["HBM peak", share], ["", ", ".join(parts)]]


def _collectives(kinds: Mapping, _) -> list[list[str]]:
    rows = [[kind, f"{total['count']} with {total['bytes'] / 1e6:,.2f} MB"] for kind, total in kinds.items()]
    return rows or [["collectives", "none"]]


def _layout(layout: Mapping, _) -> list[list[str]]:
    images, kernels, others = (layout[what] for what in ("images", "kernels", "others"))
    return [
        ["copies and transpositions", f"beside {layout['convolutions']['count']} convolutions by cuDNN:"],
        ["", f"of images {moved(images)}, of kernels {moved(kernels)},"],
        ["", f"within other work {images['fused']} and {kernels['fused']}; of others {moved(others)}"],
    ]


_PARTS = (
    ("cost", _cost),
    ("traffic", _traffic),
    ("memory", _memory),
    ("collectives", _collectives),
    ("layout", _layout),
)


def _verdict(result: Mapping) -> list[str]:
    if result["fits"]:
        return []
    if not result["needs"]:
        return [f"could not be compiled: {result['error']}"]
    largest = f"about {result['largest']} images a chip would" if result["largest"] else "nor would one image a chip"
    needs = f"needs {gib(result['needs'])} of {gib(result['memory_limit'])} GiB"
    return [f"does not fit: {needs}; in proportion, {largest}"]


def _evaluation(result: Mapping) -> list[str]:
    found = result["evaluation"]
    if found is None:
        return []
    what = f"evaluation of {found['batch_size']} images"
    if found["needs"] is None and not found["fits"]:
        return [f"{what}: could not be compiled: {found['error']}"]
    if found["needs"] is None:
        return [f"{what}: compiled in {found['seconds']:.0f} s; what it needs is not to be had"]
    verdict = "" if found["fits"] else "does not fit: "
    needs = f"needs {gib(found['needs'])} of {gib(result['memory_limit'])} GiB"
    return [f"{what}: {verdict}{needs}, with the optimiser's state beside it; compiled in {found['seconds']:.0f} s"]


def _roofline(result: Mapping) -> list[str]:
    line, chip, chips = result["roofline"], result["chip"], result["topology"]["chips"]
    if line is None:
        return []
    images, program, rate = result["batch"]["per_chip"], result["program"], line["images_per_second"]
    compute = f"{program['cost']['flops']:.4g} / {chip['peak_flops']:.4g}"
    memory = f"{program['traffic']['hbm']:.4g} / {chip['hbm_bytes']:.4g}"
    return [
        "roofline: images/s of a chip = images a chip / max(FLOPs / peak FLOP/s, HBM bytes / HBM bandwidth)",
        f"  = {images} / max({compute}, {memory})",
        f"  = {images} / max({1e3 * line['compute_seconds']:.1f} ms, {1e3 * line['memory_seconds']:.1f} ms)"
        f" = {rate:,.0f} images/s, bound by {_BOUNDS[line['bound_by']]}; {rate * chips:,.0f} on {chips} chips",
        "  by counts and peaks, no forecast: collectives and input are free, float32 runs at the bfloat16 peak",
    ]


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def moved(total: Mapping) -> str:
    return f"{total['count']} ({total['bytes'] / 1e6:,.2f} MB)"


def gib(size: float) -> str:
    return f"{size / 2**30:.2f}"
