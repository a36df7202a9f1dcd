"""`medslip compile --config FILE[:arg] --topology v5e:4x4`: the train step compiled for a TPU slice, without a TPU.

Prints FLOPs, bytes, memory and collectives of a chip, and the roofline's images/s. The exit code is 1 where the step
does not fit or could not be compiled.

`--save DIR` writes the program to the persistent compilation cache that a run with JAX_COMPILATION_CACHE_DIR=DIR looks
into. JAX looks it up by the program (text tables and schedule are in it), the compile options with the order of the
devices, the versions of jaxlib and libtpu, their flags, and a fingerprint of the slice. That the program is the run's
own is tested; whether a run on the slice finds it was not tried, as that needs one. If it does not, it compiles as if
nothing were there. Without TPUs JAX cannot load the entry again, so this command always compiles.
"""

import argparse
import functools
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from medslip_jax.aot import lowering
from medslip_jax.aot.compiled import Attempt, roofline
from medslip_jax.aot.fitting import largest_batch
from medslip_jax.aot.step_shapes import Step, step_of
from medslip_jax.cli.help_layout import help_layout
from medslip_jax.errors import InputError
from medslip_jax.experiment.config_files import load_config
from medslip_jax.experiment.sections import Experiment, replaced
from medslip_jax.experiment.trees import read
from medslip_jax.models.kinds import kind_of
from medslip_jax.parallel import sharding
from medslip_jax.parallel.chips import Topology, parse_topology
from medslip_jax.report.tables.compile import compile_table
from medslip_jax.storage.files import made_directory, write_bytes
from medslip_jax.version import __version__

_LOOP = (
    "optim.accumulate={}: XLA counts what is in a loop once, so FLOPs, bytes and collectives are those of one part and "
    "the update; --config.optim.accumulate=1 has a roofline"
)


def main(argv: list[str]) -> int:
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    topology = parse_topology(args.topology)
    if args.per_chip is not None and args.per_chip < 1:
        raise InputError(f"--per_chip {args.per_chip}: at least one image a chip")
    if args.out and not Path(args.out).parent.is_dir():
        raise InputError(f"--out {args.out}: there is no such folder; make it first")
    experiment = read(load_config(rest))
    save = made_directory(args.save, flag="--save") if args.save is not None else None
    result = compile_report(experiment, topology=topology, per_chip=args.per_chip, verify=args.verify, save=save)
    result["config"] = _config_name(rest)
    text = json.dumps(result, indent=1, allow_nan=False)
    print(text if args.json else compile_table(result))
    if args.out:
        write_bytes(args.out, text.encode())
    return 0 if result["fits"] else 1


def compile_report(
    experiment: Experiment,
    *,
    topology: Topology,
    per_chip: int | None = None,
    verify: bool = False,
    save: Path | None = None,
) -> dict[str, Any]:
    """What `medslip compile` knows of a step, JSON-ready.

    Args:
      experiment: pre-training or fine-tuning.
      topology: the slice.
      per_chip: images a chip, in place of data.batch_size over the chips.
      verify: if the step does not fit, compile the batch that is estimated to.
      save: a folder for the persistent cache.

    Returns:
      Among others "exact": the program is that of a run with this config, and nothing stands in for something else.

    Raises:
      InputError: the config cannot be trained on the slice, or libtpu is missing.
    """
    mesh = lowering.tpu_mesh(topology, data=experiment.mesh.data, fsdp=experiment.mesh.fsdp)
    if per_chip is not None:
        experiment = replaced(experiment, data={"batch_size": per_chip * mesh.size})
    parts = experiment.optim.accumulate
    _check_batch_size(mesh, experiment.data.batch_size, parts=parts)
    step = step_of(experiment, mesh=mesh)
    compile_at = functools.partial(_compile_at, step, mesh, topology)
    before = _saved_files(save)
    with lowering.saving_to(save):
        attempt = compile_at(experiment.data.batch_size // mesh.size)
    notes = [*step.notes, *([_LOOP.format(parts)] if parts > 1 else [])]
    if save:
        notes.append(_saved(save, new=_saved_files(save) - before, exact=not step.notes))
    with lowering.saving_to(None):
        largest = largest_batch(attempt, compile_at=compile_at, verify=verify, multiple=parts)
    return {
        **_asked(experiment, topology=topology, mesh=mesh),
        **_outcome(attempt, topology=topology, parts=parts),
        "largest": largest,
        "exact": not step.notes,
        "notes": notes,
        "versions": {name: _version(name) for name in ("jax", "jaxlib", "libtpu")} | {"medslip_jax": __version__},
    }


def _check_batch_size(mesh: Mesh, batch_size: int, *, parts: int) -> None:
    try:
        sharding.check_batch_size(mesh, batch_size, key="data.batch_size", parts=parts)
    except InputError as error:
        raise InputError(f"{error}; --per_chip N sets it to N images a chip") from error


def _compile_at(step: Step, mesh: Mesh, topology: Topology, per_chip: int) -> Attempt:
    return lowering.compile_step(step, mesh=mesh, topology=topology, per_chip=per_chip)


def _asked(experiment: Experiment, *, topology: Topology, mesh: Mesh) -> dict[str, Any]:
    """What was compiled, and for what."""
    batch_size = experiment.data.batch_size
    return {
        "topology": {
            "name": topology.name,
            "chips": topology.chips,
            "hosts": topology.hosts,
            "chips_per_host": min(topology.chips, topology.chip.chips_per_host),
            "device_kind": mesh.devices.flat[0].device_kind,
            "mesh": dict(mesh.shape),
        },
        "chip": {key: getattr(topology.chip, key) for key in ("peak_flops", "hbm_bytes", "hbm_gib", "usable_gib")},
        "batch": {"total": batch_size, "per_chip": batch_size // mesh.size},
        "image_size": experiment.data.image_size,
        "model": f"{kind_of(experiment.model)} with {experiment.model.backbone}",
        "dtype": experiment.model.dtype,
    }


def _outcome(attempt: Attempt, *, topology: Topology, parts: int) -> dict[str, Any]:
    cost = attempt.program["cost"] if attempt.program else {"unavailable": attempt.error}
    known = "unavailable" not in cost and parts == 1
    batch_size = attempt.per_chip * topology.chips
    return {
        "fits": attempt.fits,
        "needs": attempt.needs,
        "memory_limit": attempt.limit,
        "error": attempt.error,
        "program": attempt.program,
        "roofline": roofline(cost, chip=topology.chip, batch_size=batch_size) if known else None,
        "seconds": dict(attempt.seconds),
    }


def _saved_files(directory: Path | None) -> set[Path]:
    return set(directory.glob("jit_train_step-*-cache")) if directory else set()


def _saved(directory: Path, *, new: set[Path], exact: bool) -> str:
    """A note on what has come into the cache."""
    if not new:
        return f"nothing new was saved in {directory}"
    files = ", ".join(f"{file.name} ({file.stat().st_size / 1e6:.1f} MB)" for file in sorted(new))
    other = "" if exact else ", and does not find it: see the note on what stands in"
    return f"saved in {directory}: {files}; a run with JAX_COMPILATION_CACHE_DIR={directory} looks there{other}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # libtpu by TPU_LIBRARY_PATH.
        return "unknown"


def _config_name(argv: list[str]) -> str:
    """FILE[:arg] of `--config FILE[:arg]` or `--config=FILE[:arg]`."""
    for item, after in zip(argv, [*argv[1:], ""], strict=True):
        if item == "--config":
            return after
        if item.startswith("--config="):
            return item.partition("=")[2]
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "medslip compile",
        **help_layout(
            "medslip compile --config configs/pretrain_mimic.py:bf16 --topology v5e:4x4 --per_chip 256",
            description=__doc__,
        ),
    )
    parser.add_argument("--topology", required=True, help="a slice of up to 256 chips: v5e:4x4, v6e:8x8, v5p:2x2x4")
    parser.add_argument("--per_chip", type=int, help="images a chip; data.batch_size over the chips by default")
    parser.add_argument("--verify", action="store_true", help="compile the batch that is estimated to fit, too")
    parser.add_argument("--save", metavar="DIR", help="a persistent compilation cache that the program goes to")
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of the table")
    parser.add_argument("--out", metavar="FILE", help="write that JSON object here, too")
    return parser
