"""`medslip bench loader | radgraph`: speed on this machine, and where the time goes; --json prints one JSON line."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from data_pipelines.datasets import open_split


def main(argv: list[str]) -> int:
    """Runs the verb: 0, or `InputError` for data that cannot be used."""
    flags = _parser().parse_args(argv)
    result = {"loader": _loader, "radgraph": _radgraph}[flags.what](flags)
    if flags.json:
        print(json.dumps(result))
    else:
        print("\n".join(_lines(result)))
    return 0


def _loader(flags: argparse.Namespace) -> dict:
    from data_pipelines.loader_bench import bench_loader

    source = open_split(flags.data_dir, flags.data, "train") if flags.data else None
    return bench_loader(source, image_size=flags.image_size, batches=flags.batches, workers=flags.workers)


def _radgraph(flags: argparse.Namespace) -> dict:
    from data_pipelines.radgraph_bench import bench_radgraph

    return bench_radgraph(memory_at=(5_000, 100_000))


def _lines(result: Mapping, indent: str = "") -> list[str]:
    lines = []
    for key, value in result.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value:,.1f}" if isinstance(value, float) else f"{indent}{key}: {value}")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("medslip bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=("loader", "radgraph"))
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument("--data", help="loader: built data set; phantoms made for the occasion by default")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="loader: where it was built (%(default)s)")
    parser.add_argument("--image_size", type=int, default=224, help="loader: side of what comes out (%(default)s)")
    parser.add_argument("--batches", type=int, default=16, help="loader: of 64 images, a measurement (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="loader: processes of the second measurement")
    return parser
