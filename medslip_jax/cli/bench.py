"""`medslip bench device | step | loader | eval | radgraph | start | curves`: how fast this machine is.

`device` is for whoever has a GPU or TPU: golden parity, rates and memory in five minutes, a table and a JSON file. The
others measure one thing each, variants in turns. --json ends with one JSON line.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from medslip_jax.cli.help_layout import verb_parser
from medslip_jax.errors import InputError
from medslip_jax.exit_codes import DONE, FAILED
from medslip_jax.storage.files import made_directory, write_bytes

_BENCHMARKS = ("device", "step", "loader", "eval", "radgraph", "start", "curves")


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for data or numbers that cannot be used."""
    flags = _parser().parse_args(argv)
    for name in ("batch", "image_size", "batches", "rounds", "seconds"):
        if getattr(flags, name) is not None and getattr(flags, name) < 1:
            raise InputError(f"--{name} {getattr(flags, name)}: must be at least 1")
    if flags.image_size % 16:
        raise InputError(f"--image_size {flags.image_size}: the model takes multiples of 16")
    if flags.trace and flags.what != "step":
        raise InputError(f"--trace {flags.trace}: `medslip bench step` is what can be traced, not {flags.what}")
    if flags.trace:
        made_directory(flags.trace, flag="--trace")
    if flags.what == "device":
        return _device(flags)
    result = _measured(flags)
    print(json.dumps(result) if flags.json else "\n".join(lines(result)))
    return 0


def _device(flags: argparse.Namespace) -> int:
    """0, or 1 if the device does not compute what the released code does."""
    if not os.access(flags.out.absolute().parent, os.W_OK):
        raise InputError(f"--out {flags.out}: its folder is missing or cannot be written; name a file elsewhere")
    from medslip_jax.benchmarks.device import bench_device
    from medslip_jax.benchmarks.device_table import device_table

    result = bench_device(
        seconds=flags.seconds, size=flags.size, tell=lambda line: print(line, file=sys.stderr, flush=True)
    )
    write_bytes(flags.out, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result) if flags.json else device_table(result))
    wrong = [row for row in result["jax"]["rows"] if row["kind"] == "golden parity" and row["status"] == "failed"]
    return FAILED if wrong else DONE


def _measured(flags: argparse.Namespace) -> dict:
    model = {"image_size": flags.image_size, "precision": flags.precision, "rounds": flags.rounds}
    match flags.what:
        case "step":
            from medslip_jax.benchmarks.step import bench_step

            return bench_step(batch=flags.batch or 16, trace=flags.trace, **model)
        case "eval":
            from medslip_jax.benchmarks.inference import bench_inference

            return bench_inference(batch=flags.batch or 32, **model)
        case "loader":
            from data_pipelines.datasets import open_split
            from medslip_jax.benchmarks.loader import bench_loader

            source = open_split(flags.data_dir, flags.data, "train") if flags.data else None
            return bench_loader(source, image_size=flags.image_size, batches=flags.batches, workers=flags.workers)
        case "radgraph":
            from medslip_jax.benchmarks.radgraph import bench_radgraph

            return bench_radgraph(memory_at=(5_000, 100_000))
        case "start":
            from medslip_jax.benchmarks.start import bench_start

            return bench_start(rounds=flags.rounds)
        case _:
            from medslip_jax.benchmarks.curves import bench_curves

            return bench_curves(rounds=flags.rounds)


def lines(result: Mapping, indent: str = "") -> list[str]:
    """One line a number, nested results indented."""
    found = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            found += [f"{indent}{key}", *lines(value, indent + "  ")]
        elif isinstance(value, float):
            found.append(f"{indent}{key}: {value:,.1f}" if abs(value) >= 100 else f"{indent}{key}: {value:.3g}")
        else:
            found.append(f"{indent}{key}: {value}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = verb_parser(
        "bench",
        "medslip bench device --seconds 300 --out device.json",
        "medslip bench step --batch 16 --precision fp32 --json",
        "medslip bench step --trace /tmp/profile",
        "medslip bench loader --data mimic_cxr --workers 8",
        "medslip bench eval --batch 32",
        description=__doc__,
    )
    add = parser.add_argument
    add("what", choices=_BENCHMARKS)
    add("--json", action="store_true", help="print one JSON line")
    add("--batch", type=int, help="step, eval: images at once (16 and 32)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="step, eval: of the model (%(default)s)")
    add("--rounds", type=int, default=5, help="step, eval, start, curves: repetitions (%(default)s)")
    add("--trace", type=Path, help="step: profile one more step into this directory")
    add("--image_size", type=int, default=224, help="step, eval, loader: side (%(default)s)")
    add("--data", help="loader: built data set; phantoms made for the occasion by default")
    add("--data_dir", type=Path, default=Path("data"), help="loader: where it was built (%(default)s)")
    add("--batches", type=int, default=16, help="loader: of 64 images, a measurement (%(default)s)")
    add("--workers", type=int, default=2, help="loader: processes of the second measurement")
    add("--seconds", type=int, default=300, help="device: it ends after this time, parts left out (%(default)s)")
    add("--size", choices=("paper", "tiny"), default="paper", help="device: of the model; tiny only tries the command")
    add("--out", type=Path, default=Path("device.json"), help="device: all numbers as JSON (%(default)s)")
    return parser
